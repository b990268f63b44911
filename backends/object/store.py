"""The object store: receive, publish, read, delete and list, over an index in the database and a driver of blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from backends.db import Database
from backends.errors import Changed, Damaged, Missing
from backends.object import listing, renaming, uploads, uses, versions
from backends.object.books import Note, copy_notes
from backends.object.cipher import FOREIGN, ContentKey, ContentKeys, open_small
from backends.object.contents import INLINE, Contents, Extent, Reading, Received
from backends.object.drivers.base import BlobDriver
from backends.object.ledger import Job, Ledger, Transaction
from backends.object.listing import Entry, Open, Page
from backends.object.names import rank_of
from backends.object.recent import Recent
from backends.object.uploads import Judge, Piece, Upload
from backends.object.uses import Content
from backends.object.versions import Deleted, Description, Expect, Head, Published, Revise

T = TypeVar("T")


class Span(NamedTuple):
    """A run of bytes of a content."""

    start: int
    length: int


Also = Callable[[Transaction, T], None]
"""Writes, in the transaction of a change, what follows from it; it is given what the change came to."""

Choose = Callable[[Head], Span | None]
"""Looks at the version that is about to be read, gives the bytes wanted (None: none at all), or raises."""

Unlock = Callable[[bytes], bytes]
"""Opens a sealed key that is not the store's own, or raises."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """One of several things to delete; see `ObjectStore.delete`."""

    key: str
    version: str | None = None
    expect: Expect | None = None
    also: Also[Deleted] | None = None


class ObjectStore:
    """One store for the whole process; threads may share it.

    Containers are named by number here (see `containers.py`), keys are text, times are microseconds since 1970. What
    is published or deleted when a call returns survives a crash; what a call did not finish is never visible.
    """

    def __init__(self, database: Database, driver: BlobDriver, keys: ContentKeys, *, inline: int = INLINE) -> None:
        self.ledger = Ledger(database)
        self.contents = Contents(driver, inline=inline)
        self.recent = Recent(database)
        self.keys = keys

    # --- objects ------------------------------------------------------------------------------------------------------

    def head(self, container: int, key: str, version: str | None = None) -> Head | None:
        """A version (empty name: the null version), or the newest one, which may be a delete marker."""
        found = versions.find(self.ledger.read(), container, key.encode(), version)
        return None if found is None else found[1]

    def read(
        self, container: int, key: str, version: str | None, choose: Choose, unlock: Unlock | None = None
    ) -> tuple[Head, bytes | Reading]:
        """A version and the bytes of it that `choose` wants, small ones at once. Raises `Missing` and `Damaged`, and
        `Locked` where the content's key is not the store's and no `unlock` opens it.

        A content that is replaced between the look into the index and the opening of its file is looked up again.
        """
        if version is None and (recent := self.recent.find(container, key)) is not None:
            known, data = recent
            span = choose(known)
            return known, b"" if span is None else data[span.start : span.start + span.length]
        before: Head | None = None
        mark = self.recent.mark()
        while True:
            head = self.head(container, key, version)
            if head is None:
                raise Missing("no such object", key=key)
            span = choose(head)
            secret = None if head.sealed_key is None else self.open_key(head.sealed_key, unlock)
            if span is None or not span.length:
                return head, b""
            if head.data is not None:
                data = head.data if secret is None else open_small(secret, head.data)
                content = data if span.length == len(data) else data[span.start : span.start + span.length]
                if len(content) < span.length:
                    raise Damaged("the content is damaged", key=key, reason="its bytes are gone")
                if version is None and (head.sealed_key is None or head.sealed_key[:1] != FOREIGN):
                    self.recent.keep(mark, container, key, head, data)
                return head, content
            if before is not None and before[:-1] == head[:-1]:
                raise Damaged("the content is damaged", key=key, reason="its bytes are gone")
            try:
                return head, self._reading(head, span, secret)
            except Missing:
                before = head

    def open_key(self, sealed: bytes, unlock: Unlock | None = None) -> bytes:
        """The key of a content, or of an upload's parts. Raises `Locked` where it is not the store's, and no `unlock`
        opens it."""
        if unlock is not None and sealed[:1] == FOREIGN:
            return unlock(sealed)
        return self.keys.open(sealed)

    def receive(
        self, blocks: Iterable[bytes], *, md5: Callable[[], bytes] | None = None, key: ContentKey | None = None
    ) -> Received:
        """Take a stream (see `Contents.receive`): hashed, sealed, written, not yet visible. Close what comes back,
        published or not. Without a `key` it gets one that the store opens by itself."""
        return self.contents.receive(blocks, key=key or self.keys.fresh(), md5=md5)

    def receive_part(
        self,
        upload: Upload,
        blocks: Iterable[bytes],
        *,
        md5: Callable[[], bytes] | None = None,
        unlock: Unlock | None = None,
    ) -> Received:
        """The same for a part of an upload. Raises `Locked`."""
        return self.receive_more(upload.sealed_key, blocks, md5=md5, unlock=unlock)

    def receive_more(
        self,
        sealed: bytes | None,
        blocks: Iterable[bytes],
        *,
        md5: Callable[[], bytes] | None = None,
        unlock: Unlock | None = None,
    ) -> Received:
        """The same for a piece of a content whose key is sealed so (None: it lies there as it is)."""
        key = None if sealed is None else ContentKey(self.open_key(sealed, unlock), sealed)
        return self.contents.receive(blocks, key=key, inline=False, md5=md5)

    def publish(
        self,
        container: int,
        key: str,
        about: Description,
        received: Received,
        expect: Expect | None = None,
        also: Also[Published] | None = None,
        *,
        notes: Sequence[Note] = (),
        book: str | None = None,
    ) -> Published:
        """Make a received content the newest version of a key. `expect` sees what it replaces, in the transaction. It
        gets copies of `notes`, which are all that stand in `book`."""
        name = key.encode()

        def job(tx: Transaction) -> Published:
            tx.lock(container, name)
            uses.add_blob(tx, received)
            sealed = None if received.key is None else received.key.sealed
            content = Content(received.name, None, received.data, sealed, copy_notes(tx, notes, book))
            published = versions.put(tx, container, name, about, content, expect)
            if also is not None:
                also(tx, published)
            return published

        return self._with((received,), job)

    def copy(
        self,
        source: tuple[int, str, Head],
        container: int,
        key: str,
        about: Description,
        expect: Expect | None = None,
        also: Also[Published] | None = None,
        *,
        sealed_key: bytes | None = None,
        notes: Sequence[Note] = (),
        book: str | None = None,
    ) -> Published:
        """Make another version of a content that is there, without moving a byte (small ones excepted).

        `sealed_key` is the content's key, sealed anew for the copy; without it, the copy is opened as the source is.
        `notes`, `book`: see `publish`. Raises `Changed` when the source is not that version any more.
        """
        from_container, from_key, seen = source
        name, from_name = key.encode(), from_key.encode()

        def job(tx: Transaction) -> Published:
            tx.lock(container, name)
            found = versions.find(tx, from_container, from_name, seen.version)
            if found is None or found[1][:7] != seen[:7]:
                raise Changed("the source was replaced meanwhile", key=from_key)
            content = uses.use(tx, found[1])
            if sealed_key is not None and content.sealed_key is not None:
                content = content._replace(sealed_key=sealed_key)
            content = content._replace(book=copy_notes(tx, notes, book))
            published = versions.put(tx, container, name, about, content, expect)
            if also is not None:
                also(tx, published)
            return published

        return self._commit(job)

    def delete(
        self,
        container: int,
        key: str,
        version: str | None,
        now: int,
        *,
        owner: str = "",
        expect: Expect | None = None,
        also: Also[Deleted] | None = None,
    ) -> Deleted:
        """Delete a version, or the key (see `versions.remove`)."""
        return self._commit(self._deletion(container, Doomed(key, version, expect, also), now, owner))

    def delete_many(
        self, container: int, doomed: Sequence[Doomed], now: int, *, owner: str = ""
    ) -> list[Deleted | Exception]:
        """Delete many with one commit; what an `expect` raised stands in the place of what was not deleted."""

        def job(tx: Transaction) -> list[Deleted | Exception]:
            results: list[Deleted | Exception] = []
            refused: list[Exception] = []

            def guard(expect: Expect) -> Expect:
                def guarded(head: Head | None) -> None:
                    try:
                        expect(head)
                    except Exception as error:
                        refused.append(error)
                        raise

                return guarded

            order = sorted({one.key for one in doomed})
            for key in order:
                tx.lock(container, key.encode())
            for one in doomed:
                expect = None if one.expect is None else guard(one.expect)
                try:
                    results.append(self._deletion(container, replace(one, expect=expect), now, owner)(tx))
                except Exception as error:
                    if error not in refused:
                        raise
                    results.append(error)
            return results

        return self._commit(job)

    def amend(
        self, container: int, key: str, version: str | None, revise: Revise, also: Also[Head] | None = None
    ) -> Head:
        """Change a version in place (see `versions.amend`); it, as it was before."""
        name = key.encode()

        def job(tx: Transaction) -> Head:
            tx.lock(container, name)
            head = versions.amend(tx, container, name, version, revise)
            if also is not None:
                also(tx, head)
            return head

        return self._commit(job)

    def rename(self, container: int, key: str, new: str, check: renaming.Check, also: Also[Head] | None = None) -> Head:
        """Give a key's object another key (see `renaming.rename`); it, as it was."""
        name, other = key.encode(), new.encode()

        def job(tx: Transaction) -> Head:
            for one in sorted({name, other}):
                tx.lock(container, one)
            head = renaming.rename(tx, container, name, other, check)
            if also is not None:
                also(tx, head)
            return head

        return self._commit(job)

    # --- listings -----------------------------------------------------------------------------------------------------

    def list_keys(
        self, container: int, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page[Entry]:
        """The live keys behind `after`, in byte order."""
        return listing.live(self.ledger.read(), container, prefix.encode(), delimiter.encode(), after.encode(), limit)

    def list_versions(
        self,
        container: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_version: str | None = None,
        limit: int = 1000,
    ) -> Page[Entry]:
        """Every version and delete marker, newest first within a key. Where `after_version` is gone and does not say
        when it was made (a null version), the page begins behind the whole key."""
        reader, rank = self.ledger.read(), None
        if after_version is not None:
            rank = rank_of(after_version) if after_version else None
            if rank is None:
                found = versions.find(reader, container, after.encode(), after_version)
                rank = None if found is None else found[1].rank
        return listing.versions(reader, container, prefix.encode(), delimiter.encode(), after.encode(), rank, limit)

    # --- uploads in parts ---------------------------------------------------------------------------------------------

    def open_upload(
        self,
        container: int,
        key: str,
        now: int,
        *,
        owner: str,
        storage: str,
        facts: str,
        sealed_key: bytes | None = None,
    ) -> str:
        """Begin an upload; its id. `facts` are kept for its completion. Without a `sealed_key` its parts are sealed
        under a key that the store opens by itself."""
        name, secret = key.encode(), sealed_key or self.keys.fresh().sealed
        return self._commit(
            lambda tx: uploads.open_upload(
                tx, container, name, now, owner=owner, storage=storage, facts=facts, sealed_key=secret
            )
        )

    def upload(self, container: int, key: str, id: str) -> Upload:
        """An upload to that key. Raises `Missing`."""
        return uploads.find_upload(self.ledger.read(), container, key.encode(), id)

    def publish_part(
        self, upload: Upload, number: int, received: Received, *, etag: str, checksum: str, now: int
    ) -> None:
        """Add what `receive_part` gave as a part. Raises `Missing` when the upload is over."""

        def job(tx: Transaction) -> None:
            tx.lock(upload.container, upload.key)
            uses.add_blob(tx, received)
            uploads.put_piece(tx, upload, Piece(number, 0, received.size, now, etag, checksum, received.name))

        self._with((received,), job)

    def complete(
        self,
        container: int,
        key: str,
        id: str,
        judge: Judge,
        expect: Expect | None = None,
        also: Also[Published] | None = None,
    ) -> tuple[Published, str]:
        """Make the upload's parts one version; what was published, and its etag. May be repeated. Raises `Missing`."""
        name = key.encode()

        def job(tx: Transaction) -> tuple[Published, str]:
            tx.lock(container, name)
            return uploads.complete(tx, container, name, id, judge, expect, also)

        return self._commit(job)

    def abort(self, container: int, key: str, id: str) -> None:
        """Drop an open upload. Raises `Missing`."""
        name = key.encode()

        def job(tx: Transaction) -> None:
            tx.lock(container, name)
            uploads.abort(tx, container, name, id)

        self._commit(job)

    def parts(self, id: str, *, after: int = 0, limit: int = 1000) -> list[Piece]:
        """Parts of an upload or of a content made of parts, in order of their numbers."""
        return [Piece._make(row) for row in self.ledger.read().all(uploads.PIECES_AFTER, id, after, limit)]

    def part(self, id: str, number: int) -> Piece | None:
        """One part."""
        row = self.ledger.read().one(uploads.PIECE, id, number)
        return None if row is None else Piece._make(row)

    def list_uploads(
        self,
        container: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> Page[Open]:
        """The open uploads, by key, then oldest first."""
        reader, at = self.ledger.read(), None
        if after_upload and "\0" not in after_upload:
            row = reader.one(uploads.FIND, after_upload)
            at = (0 if row is None else row[3], after_upload)
        return listing.uploads(reader, container, prefix.encode(), delimiter.encode(), after.encode(), at, limit)

    def act(self, job: Job[T]) -> T:
        """Run a step of this package's own in a transaction; what it leaves as garbage goes."""
        return self._commit(job)

    def act_with(self, received: Sequence[Received], job: Job[T]) -> T:
        """The same for a step that makes use of received contents, which go again where it fails."""
        return self._with(received, job)

    # --- inside -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections."""
        self.ledger.close()

    def _deletion(self, container: int, one: Doomed, now: int, owner: str) -> Job[Deleted]:
        key = one.key.encode()

        def job(tx: Transaction) -> Deleted:
            tx.lock(container, key)
            deleted = versions.remove(tx, container, key, one.version, now, owner, one.expect)
            if one.also is not None:
                one.also(tx, deleted)
            return deleted

        return job

    def _commit(self, job: Job[T]) -> T:
        result, garbage = self.ledger.write(job)
        if garbage:
            self.ledger.after(lambda: self.contents.remove(garbage))
        return result

    def _with(self, received: Sequence[Received], job: Job[T]) -> T:
        """Commit what makes use of received contents; without the commit the contents go again.

        Where the database itself failed, the commit may have happened: then the blobs are left to the sweeper.
        """
        written = [one for one in received if one.writer is not None]
        if not written:
            return self._commit(job)
        lost = True
        try:
            for one in written:
                self.contents.keep(one)
            result, garbage = self.ledger.write(job)
            lost = False
        except self.ledger.faults:
            lost = False
            raise
        finally:
            if lost:
                self._settle(written, used=False)
            else:
                # Spared from the sweeper until the index knows them for good.
                self.ledger.after(lambda: self._settle(written, used=True))
        if garbage:
            self.ledger.after(lambda: self.contents.remove(garbage))
        return result

    def _settle(self, received: Sequence[Received], *, used: bool) -> None:
        for one in received:
            self.contents.settle(one, used=used)

    def _reading(self, head: Head, span: Span, secret: bytes | None) -> Reading:
        if head.blob is not None:
            extents = [Extent(head.blob, 0, head.size)]
        else:
            rows = self.ledger.read().all(uploads.PIECES_WITHIN, head.assembly, span.start + span.length, span.start)
            extents = [Extent(row[6], row[1], row[2]) for row in rows]
            if not extents or any(row[7] for row in rows):
                raise Missing("the content is gone, or damaged")
        reading = Reading(self.contents, extents, span.start, span.length, secret)
        if len(extents) > 1 and self.ledger.read().one(uploads.FIND, head.assembly) is None:
            reading.close()  # it went between the look and the lease
            raise Missing("the content is gone")
        return reading
