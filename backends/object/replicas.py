"""Versions that are copied under their own names: the same name, rank and time in another container."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.errors import Changed, Missing
from backends.object import uses, versions
from backends.object.books import Note, copy_notes, rewrite_book
from backends.object.ledger import Transaction
from backends.object.models import Keeping
from backends.object.names import rank_of
from backends.object.store import Also, ObjectStore
from backends.object.uses import Content
from backends.object.versions import Amendment, Description, Head, Published


def replicate(
    store: ObjectStore,
    source: tuple[int, str, Head],
    container: int,
    about: Description,
    *,
    sealed_key: bytes | None = None,
    also: Also[Published] | None = None,
    notes: Sequence[Note] = (),
    terms: Callable[[Head], str] | None = None,
    only_there: bool = False,
) -> None:
    """Put a version (or delete marker) of a key into another container, by reference and under its name; what is there
    already gets the tags and grants of `about`, and the terms that `terms` gives (those of `about` without it). Both
    get copies of `notes`, which are all annotations of the source. May be repeated.

    Raises `Missing` without the container or the source (`only_there`: or the version there), `Changed` where the
    container keeps no versions, or the annotations are others by now.
    """
    from_container, key, head = source
    name = key.encode()
    rank = rank_of(head.version)
    assert rank is not None

    def job(tx: Transaction) -> None:
        tx.lock(container, name)
        if versions.keeping_of(tx, container) != Keeping.ENABLED:
            raise Changed("the container keeps no versions", container=container)
        there = versions.find(tx, container, name, head.version)
        if there is not None:
            if not there[1].marker:

                def change(now: Head) -> Amendment:
                    return Amendment(about.tags, about.grants, about.terms if terms is None else terms(now))

                versions.amend(tx, container, name, head.version, change)
                rewrite_book(tx, (container, there[0], name), there[1], notes, head.book)
            return
        if only_there:
            raise Missing("there is no such version", key=key)
        content = Content()
        if not head.marker:
            found = versions.find(tx, from_container, name, head.version)
            if found is None:
                raise Missing("the source is gone", key=key)
            content = uses.use(tx, found[1])
            if sealed_key is not None and content.sealed_key is not None:
                content = content._replace(sealed_key=sealed_key)
            content = content._replace(book=copy_notes(tx, notes, found[1].book))
        versions.insert_named(tx, container, name, head.version, rank, about, content, marker=head.marker)
        if also is not None:
            also(tx, Published(head.version, Keeping.ENABLED))

    store.act(job)
