"""SelectObjectContent: a query over one object, answered as a stream of events."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.object.contents import Reading
from backends.object.query import Lens, Unreadable
from backends.object.store import Span
from backends.object.versions import Head
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3.objects import View
from compat.s3.places import bucket_of
from compat.s3.select import source
from compat.s3.select.language import parse, wrong
from compat.s3.select.output import writer
from compat.s3.select.source import Input, Meter
from compat.s3.select.translate import plan
from compat.streams import Events

if TYPE_CHECKING:
    from compat.context import Context

PIECE = 128 << 10
"""Records go out in events of about this many bytes."""
Event = tuple[str, Any]
_PLACE = re.compile(r"""\s(?:(?:in|of) )?file\s*["'][^"']*["']|["']?/\S*nephele-select-\S*/object["']?""")
"""Where DuckDB says that it read, which is nobody's business."""


@operation("s3:SelectObjectContent", on="{Bucket}/{Key}", action="s3:GetObject", streams=True, slow=True)
def select_object_content(ctx: Context, p: Params) -> Result:
    bucket, view = bucket_of(ctx, p), View(ctx, p)
    if p.get("ExpressionType") != "SQL":
        raise wrong("InvalidExpressionType", "The ExpressionType is not valid. Only SQL expressions are supported.")
    query = parse(p["Expression"])
    given = p["InputSerialization"]
    if sum(given.get(form) is not None for form in ("CSV", "JSON", "Parquet")) != 1:
        raise wrong("InvalidDataSource", "One input format must be given: CSV, JSON or Parquet.")

    def choose(head: Head) -> Span | None:
        view.choose(head)
        return Span(0, head.size)

    meter = Meter()
    folder = Path(tempfile.mkdtemp(prefix="nephele-select-"))
    lens: Lens | None = None
    try:
        try:
            head, content = ctx.objects.read(bucket.number, view.key, view.version, choose)
        except Missing:
            raise view.absent(bucket) from None
        try:
            blocks = [content] if isinstance(content, bytes) else content
            lens, found = _load(folder, blocks, head.size, p, meter)
        finally:
            if isinstance(content, Reading):
                content.close()
        made = plan(query, found.columns, found.relation)
        write = writer(p["OutputSerialization"], made, found.columns)
        rows = _first(lens.rows(made.sql), found)
    except BaseException as fault:
        _leave(folder, lens)
        if isinstance(fault, Unreadable):
            raise _told(fault, given) from fault
        raise
    progress = bool((p.get("RequestProgress") or {}).get("Enabled"))
    held = lens
    return {"Payload": Events(_events(rows, write, meter, progress, given), lambda: _leave(folder, held))}


def _load(folder: Path, blocks: Any, size: int, p: Params, meter: Meter) -> tuple[Lens, Input]:
    """Put the object where it can be queried."""
    path, given = folder / "object", p["InputSerialization"]
    compression = given.get("CompressionType") or "NONE"
    asked = p.get("ScanRange")
    span = None if asked is None else _span(asked, size)
    if given.get("Parquet") is not None:
        if compression != "NONE":
            raise wrong("UnsupportedParquetType", "Parquet objects are compressed inside, not as a whole.")
        source.spool(source.unpacked(blocks, "NONE", meter), path)
        lens = Lens(path)
        try:
            return lens, source.parquet_input(path, lens, span)
        except BaseException:
            lens.close()
            raise
    plain = source.unpacked(blocks, compression, meter)
    csv = given.get("CSV")
    dialect = source.dialect_of(csv) if csv is not None else None
    if span is not None:
        if compression != "NONE" or (dialect is None and given["JSON"].get("Type") != "LINES"):
            raise wrong("UnsupportedScanRangeInput", "Scan ranges need Parquet, or uncompressed CSV or lines of JSON.")
        if dialect is not None and dialect.across:
            raise wrong("UnsupportedScanRangeInput", "Scan ranges and quoted record delimiters exclude each other.")
        plain = source.within(plain, *span, dialect.record.encode() if dialect is not None else b"\n")
    plain = source.without_mark(plain)
    if dialect is not None:
        source.spool(source.canonical(plain, dialect), path)
        return Lens(path), source.csv_input(path, dialect)
    source.spool(plain, path)
    return Lens(path), source.json_input(path, given["JSON"].get("Type") or "")


def _span(asked: dict[str, Any], size: int) -> tuple[int, int | None]:
    """The first and the last byte of a scan range."""
    start, end = asked.get("Start"), asked.get("End")
    if (start or 0) < 0 or (end is not None and end < (start or 0)) or (start is None and end is None):
        raise wrong("InvalidScanRange", "The scan range is not valid.")
    if start is None:  # the last `End` bytes
        return max(size - (end or 0), 0), None
    return start, end


def _first(rows: Iterator[list[tuple[Any, ...]]], found: Input) -> Iterator[list[tuple[Any, ...]]]:
    """The rows, with the first ones fetched: what fails at once is an error and no stream."""
    first = next(rows, None)
    return iter(()) if first is None else chain((first,), rows)


def _events(rows: Any, write: Any, meter: Meter, progress: bool, given: Params) -> Iterator[Event]:
    pieces: list[str] = []
    size = 0

    def details() -> dict[str, Any]:
        told = {"BytesScanned": meter.scanned, "BytesProcessed": meter.processed, "BytesReturned": meter.returned}
        return {"Details": told}

    try:
        for some in rows:
            for row in some:
                text = write(row)
                pieces.append(text)
                size += len(text)
                if size >= PIECE:
                    data, size = "".join(pieces).encode("utf-8", "surrogateescape"), 0
                    pieces.clear()
                    meter.returned += len(data)
                    yield "Records", {"Payload": data}
        if pieces:
            data = "".join(pieces).encode("utf-8", "surrogateescape")
            meter.returned += len(data)
            yield "Records", {"Payload": data}
    except Unreadable as fault:
        yield "error", _told(fault, given)
        return
    if progress:
        yield "Progress", details()
    yield "Stats", details()
    yield "End", {}


def _told(fault: Unreadable, given: Params) -> AWSError:
    if fault.conversion:
        return wrong("CastFailed", "Attempt to convert from one data type to another using CAST failed.")
    form = next(form for form in ("CSV", "JSON", "Parquet") if given.get(form) is not None)
    text = _PLACE.sub("", str(fault))
    if "unicode" in text or "utf-8" in text.lower():
        return wrong("InvalidTextEncoding", "Invalid encoding type. Only UTF-8 encoding is supported.")
    return wrong(f"{form}ParsingError", f"Encountered an error parsing the {form} file: {text}")


def _leave(folder: Path, lens: Lens | None) -> None:
    if lens is not None:
        lens.close()
    shutil.rmtree(folder, ignore_errors=True)
