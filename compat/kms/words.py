"""Encryption contexts: words that are not secret, without which a ciphertext does not open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import orjson

from compat.errors import AWSError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compat.context import Context

Words = Mapping[str, str]
MOST = 8192
_on_behalf: ContextVar[tuple[Words, str | None] | None] = ContextVar("kms_on_behalf", default=None)


@contextmanager
def on_behalf(words: Words, service: str | None) -> Iterator[None]:
    """While a question is about another encryption context than the call's; `service` is the one that asks for its
    caller (`kms:ViaService`), if one does."""
    token = _on_behalf.set((words, service))
    try:
        yield
    finally:
        _on_behalf.reset(token)


def context_of(ctx: Context) -> Words:
    """The encryption context of the question that is asked now."""
    behalf = _on_behalf.get()
    if behalf is not None:
        return behalf[0]
    p = ctx.params
    found: Words = p.get("EncryptionContext") or p.get("SourceEncryptionContext") or {}
    return found


def via(ctx: Context) -> str | None:
    """The service that asks for its caller: `s3.us-east-1.amazonaws.com`."""
    behalf = _on_behalf.get()
    return None if behalf is None else behalf[1]


def canonical(words: Words) -> bytes:
    """The words in one order, for whatever authenticates them."""
    encoded = orjson.dumps(dict(words), option=orjson.OPT_SORT_KEYS)
    if len(encoded) > MOST:
        raise AWSError("ValidationException", "The encryption context is too large")
    return encoded
