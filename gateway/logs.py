"""Logs: structlog for what happens now and then, and a renderer of its own for the one line a request.

Everything goes to standard error. Modules log through `logging.getLogger("nephele.<part>")`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from gateway.settings import Settings

if TYPE_CHECKING:
    from structlog.typing import Processor

STDERR = 2
# Request lines wait this long (seconds), or until so many have gathered, for one write.
PATIENCE, MOST = 0.1, 64


def configure(settings: Settings) -> None:
    """Set the process's logging up. Libraries are heard from `warning` on."""
    off = settings.log_level == "off"
    level = logging.CRITICAL + 1 if off else logging.getLevelNamesMapping()[settings.log_level.upper()]
    if not off:
        faulthandler.enable(STDERR)  # a crash in a library's native code tells where it was, too
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(settings.log_format))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(max(level, logging.WARNING))
    logging.getLogger("nephele").setLevel(level)
    # Its errors on malformed requests are answers of ours, and start and end are told by the banner.
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.ERROR))


class _Formatter(logging.Formatter):
    """structlog's formatter, loaded with the first line: most runs write none, and loading it takes a while."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            self._formatter = _structlog_formatter(self._form)
        return self._formatter.format(record)


def _structlog_formatter(form: str) -> logging.Formatter:
    import structlog

    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer: Processor = structlog.processors.JSONRenderer(
            serializer=lambda value, **_: orjson.dumps(value).decode()
        )
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            pad_level=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    )


class RequestLog:
    """Writes one line a request: time, id, operation, principal, status, milliseconds.

    Made for the event loop's thread: lines gather and are written together, at most `PATIENCE` seconds late, so that a
    request costs a few microseconds. `flush` at the end writes what is left.
    """

    __slots__ = ("_descriptor", "_json", "_lines", "_prefix", "_second", "enabled")

    def __init__(self, settings: Settings, descriptor: int = STDERR) -> None:
        self.enabled = settings.log_level in ("debug", "info")
        self._json = settings.log_format == "json"
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._second, self._prefix = 0, ""

    def write(self, request_id: str, operation: str, principal: str, status: int, seconds: float) -> None:
        """Tell of a request that was answered. `operation` is `service:Operation`; `principal` is an ARN or empty."""
        if not self.enabled:
            return
        moment = time.time()
        second = int(moment)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        at = f"{self._prefix}.{int((moment - second) * 1000):03}Z"
        milliseconds = round(seconds * 1000, 2)
        if self._json:
            line = orjson.dumps(
                {
                    "timestamp": at,
                    "level": "info",
                    "event": "request",
                    "id": request_id,
                    "operation": _clean(operation),
                    "principal": _clean(principal),
                    "status": status,
                    "ms": milliseconds,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
        else:
            line = (
                f"{at} [info] request id={request_id} {_whose(operation, principal)} status={status} "
                f"ms={milliseconds}\n"
            ).encode("utf-8", "backslashreplace")
        lines = self._lines
        lines.append(line)
        if len(lines) >= MOST:
            self.flush()
        elif len(lines) == 1:
            asyncio.get_running_loop().call_later(PATIENCE, self.flush)

    def flush(self) -> None:
        """Write the lines that wait. A log that nobody reads any more is no reason to stop serving."""
        if not self._lines:
            return
        block = memoryview(b"".join(self._lines))
        self._lines.clear()
        try:
            while block:
                block = block[os.write(self._descriptor, block) :]
        except OSError:
            self.enabled = False


@lru_cache(1024)
def _whose(operation: str, principal: str) -> str:
    return f"operation={_plain(operation)} principal={_plain(principal)}"


def _plain(word: str) -> str:
    """A word for a line of words: quoted when it would break the line."""
    if word and word.isprintable() and " " not in word and '"' not in word:
        return word
    return json.dumps(word) if word else "-"


def _clean(word: str) -> str:
    """A word that UTF-8 can hold: bytes that were none (lone surrogates) are written as escapes."""
    return word if word.isascii() else word.encode("utf-8", "backslashreplace").decode()
