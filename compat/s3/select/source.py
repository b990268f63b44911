"""An object on its way into a query: unpacked into a file of its own, and what DuckDB must know to read it."""

from __future__ import annotations

import bz2
import codecs
import csv
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from backends.object.query import Lens
from compat.errors import AWSError
from compat.s3.select.language import wrong
from compat.s3.select.translate import ANY, BOOL, JSON, NUMBER, TEXT, TIME, Columns, identifier
from compat.s3.select.walking import quoted

MOST_COLUMNS = 4096
LONGEST_RECORD = 8 << 20
ABSENT = "\x02\x03"
"""What no field says: fields that a short row lacks are told by it from empty ones."""
_NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "UINT", "USMALLINT", "UTINYINT")


class Input(NamedTuple):
    """A relation, and what is in its rows."""

    relation: str
    columns: Columns


class Meter:
    """How many bytes were read from the object, and how many they became."""

    def __init__(self) -> None:
        self.scanned = self.processed = self.returned = 0


def unpacked(blocks: Iterable[bytes], compression: str, meter: Meter) -> Iterator[bytes]:
    """The bytes of an object without their compression. Raises `AWSError` where they are not compressed so."""
    squeezed: Any = None
    if compression in ("GZIP", "BZIP2"):
        make = (lambda: zlib.decompressobj(31)) if compression == "GZIP" else bz2.BZ2Decompressor
        squeezed = make()
    elif compression != "NONE":
        raise wrong("InvalidCompressionFormat", "The file is not in a supported compression format.")
    for block in blocks:
        meter.scanned += len(block)
        if squeezed is None:
            meter.processed += len(block)
            yield block
            continue
        data = block
        while data:
            try:
                if squeezed.eof:
                    squeezed = make()
                piece = squeezed.decompress(data, LONGEST_RECORD)
                data = squeezed.unconsumed_tail if compression == "GZIP" else b""
                while True:
                    meter.processed += len(piece)
                    if piece:
                        yield piece
                    if data or compression == "GZIP" or squeezed.eof or squeezed.needs_input:
                        break
                    piece = squeezed.decompress(b"", LONGEST_RECORD)
                if squeezed.eof:
                    data = squeezed.unused_data
            except (zlib.error, OSError, EOFError) as fault:
                raise wrong(
                    "InvalidCompressionFormat", f"{compression} is not applicable to the queried object."
                ) from fault
    if squeezed is not None and meter.scanned and not squeezed.eof:
        raise wrong(
            "TruncatedInput",
            "Object decompression failed. Check that the object is properly compressed using the format specified in "
            "the request.",
        )


def within(blocks: Iterable[bytes], start: int, end: int | None, delimiter: bytes) -> Iterator[bytes]:
    """The records that begin from `start` to `end` (both counted), whole."""
    at, buffer, begun = 0, b"", start == 0
    for block in blocks:
        buffer += block
        if not begun:
            # The record that holds the byte before `start` belongs to whoever reads what is before.
            skip = max(start - 1 - at, 0)
            if skip >= len(buffer):
                at, buffer = at + len(buffer), b""
                continue
            found = buffer.find(delimiter, skip)
            if found < 0:
                keep = max(len(buffer) - len(delimiter) + 1, skip)
                at, buffer = at + keep, buffer[keep:]
                continue
            at, buffer, begun = at + found + len(delimiter), buffer[found + len(delimiter) :], True
        if end is None or at + len(buffer) <= end:
            yield buffer
            at, buffer = at + len(buffer), b""
            continue
        if at > end + 1:
            last = 0
        else:
            last = buffer.find(delimiter, max(end + 1 - at - len(delimiter), 0))
        if at > end or last >= 0:
            yield buffer[: last + len(delimiter)] if at <= end else b""
            return
        yield buffer
        at, buffer = at + len(buffer), b""
    if begun and buffer:
        yield buffer


def spool(blocks: Iterable[bytes], path: Path) -> None:
    """Write everything into a file."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)


# --- CSV --------------------------------------------------------------------------------------------------------------


class Dialect(NamedTuple):
    """How a CSV object is written. `across`: quoted fields may hold the end of a record."""

    field: str
    record: str
    quote: str
    escape: str
    comment: str
    header: str
    across: bool = False


def dialect_of(given: Mapping[str, Any]) -> Dialect:
    """The dialect that a call describes. Raises `AWSError`."""
    header = given.get("FileHeaderInfo") or "NONE"
    if header not in ("NONE", "USE", "IGNORE"):
        raise wrong(
            "InvalidFileHeaderInfo", "The FileHeaderInfo is not valid. Only NONE, USE, and IGNORE are supported."
        )
    found = Dialect(
        given.get("FieldDelimiter") or ",",
        given.get("RecordDelimiter") or "\n",
        given.get("QuoteCharacter", '"') or "",
        given.get("QuoteEscapeCharacter", '"') or "",
        (given.get("Comments") or "")[:1],
        header,
        bool(given.get("AllowQuotedRecordDelimiter")),
    )
    if len(found.field) > 2 or len(found.record) > 2 or len(found.quote) > 1 or len(found.escape) > 1:
        raise wrong("InvalidRequestParameter", "A delimiter or quote character is too long.")
    if any(ord(c) > 127 for text in found[:4] for c in text):
        raise wrong("InvalidRequestParameter", "Delimiters and quote characters must be ASCII.")
    return found


def canonical(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """CSV whose records end in a line feed. What is not written so is read and written anew."""
    if not _is_canonical(dialect):
        return _anew(blocks, dialect)
    return iter(blocks) if dialect.across or not dialect.quote else _checked(blocks, dialect)


def _is_canonical(dialect: Dialect) -> bool:
    return dialect.record in ("\n", "\r\n") and len(dialect.field) == 1 and not dialect.comment


def _checked(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """The same bytes. Raises `AWSError` where a quoted field goes on behind the end of its line."""
    mark, rest = dialect.quote.encode(), b""
    escape = dialect.escape.encode() if dialect.escape not in ("", dialect.quote) else None
    for block in blocks:
        whole, end, tail = (rest + block).rpartition(b"\n")
        if mark in whole:
            for line in whole.split(b"\n"):
                # Most lines have their quotes in pairs, and are not worth a closer look.
                dubious = line.count(mark) % 2 or (escape is not None and escape in line)
                if dubious and _goes_on(line.decode("latin-1"), dialect):
                    raise _unescaped()
        rest = tail
        if len(rest) > LONGEST_RECORD:
            raise too_long()
        yield whole + end
    if _goes_on(rest.decode("latin-1"), dialect):
        raise _unescaped()
    yield rest


def _unescaped() -> AWSError:
    return wrong(
        "CSVUnescapedQuote",
        "A quote that was not properly escaped was found while parsing the CSV file. To continue, make sure to enable "
        "AllowQuotedRecordDelimiter and try again.",
    )


def too_long() -> AWSError:
    """The refusal of a record that nobody could hold in memory."""
    return wrong("OverMaxRecordSize", "The length of a record in the input is greater than the maximum.")


def _goes_on(record: str, dialect: Dialect) -> bool:
    """Whether the last field of a record is quoted, and does not end."""
    quote, at = dialect.quote, 0
    if not quote or quote not in record:
        return False
    while True:
        if record.startswith(quote, at):
            at = _behind_quoted(record, at + 1, dialect)
            if at < 0:
                return True
        at = record.find(dialect.field, at)
        if at < 0:
            return False
        at += len(dialect.field)


def _behind_quoted(record: str, at: int, dialect: Dialect) -> int:
    """The place behind the quote that ends a field which began before `at`; -1 without one."""
    quote, escape = dialect.quote, dialect.escape
    while True:
        found = record.find(quote, at)
        if escape and escape != quote and 0 <= (escaped := record.find(escape, at)) and (found < 0 or escaped < found):
            at = escaped + 2
            continue
        if found < 0:
            return -1
        if escape == quote and record.startswith(quote, found + 1):
            at = found + 2
            continue
        return found + 1


def _anew(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    rest, held, end = "", "", dialect.record
    decoder = io.TextIOWrapper(io.BufferedReader(_Raw(iter(blocks))), "utf-8", "surrogateescape", newline="")
    while text := decoder.read(1 << 20):
        *records, rest = (rest + text).split(end)
        written: list[str] = []
        for record in records:
            whole, held = held + record, ""
            if dialect.comment and whole.startswith(dialect.comment):
                continue
            if _goes_on(whole, dialect):
                if not dialect.across:
                    raise _unescaped()
                held = whole + end
                if len(held) > LONGEST_RECORD:
                    raise too_long()
                continue
            written.append(_line(whole, dialect))
        if written:
            yield "".join(written).encode("utf-8", "surrogateescape")
    rest = held + rest
    if rest and not (dialect.comment and rest.startswith(dialect.comment)):
        if _goes_on(rest, dialect):
            raise _unescaped()
        yield _line(rest, dialect).encode("utf-8", "surrogateescape")


def without_mark(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes without the mark that some programs write before UTF-8."""
    head, begun = b"", False
    for block in blocks:
        if begun:
            yield block
            continue
        head += block
        if len(head) >= len(codecs.BOM_UTF8):
            begun = True
            yield head.removeprefix(codecs.BOM_UTF8)
    if not begun and head:
        yield head


class _Raw(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._left = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = block
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _line(record: str, dialect: Dialect) -> str:
    quote = dialect.quote or '"'
    fields, at, size = [], 0, len(record)
    while True:
        if dialect.quote and record.startswith(quote, at):
            text, at = "", at + 1
            while at < size:
                if dialect.escape and record[at] == dialect.escape and at + 1 < size and dialect.escape != quote:
                    text, at = text + record[at + 1], at + 2
                elif record.startswith(quote * 2, at) and dialect.escape == quote:
                    text, at = text + quote, at + 2
                elif record[at] == quote:
                    at += 1
                    break
                else:
                    text, at = text + record[at], at + 1
            end = record.find(dialect.field, at)
            fields.append(text)
        else:
            end = record.find(dialect.field, at)
            fields.append(record[at : end if end >= 0 else size])
        if end < 0:
            break
        at = end + len(dialect.field)
    return ",".join(_quoted(field) for field in fields) + "\n"


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\r\n') else field


def csv_input(path: Path, dialect: Dialect) -> Input:
    """A spooled CSV object."""
    if not _is_canonical(dialect):
        dialect = Dialect(",", "\n", '"', '"', "", dialect.header)
    count, first = _widest(path, dialect)
    if count > MOST_COLUMNS:
        raise wrong(
            "OverMaxColumn", "The number of columns in the result is greater than the maximum allowable number."
        )
    names = _header(first, dialect) if dialect.header == "USE" else ()
    count = max(count, len(names), 1)
    columns = ", ".join(f"{quoted(f'f{place}')}: 'VARCHAR'" for place in range(1, count + 1))
    options = [
        "auto_detect=false",
        "header=false",
        f"delim={quoted(dialect.field)}",
        f"quote={quoted(dialect.quote)}",
        f"escape={quoted(dialect.escape if dialect.quote else '')}",
        f"nullstr={quoted(ABSENT)}",
        "null_padding=true",
        "strict_mode=false",
        "parallel=false",
        f"max_line_size={LONGEST_RECORD}",
        f"columns={{{columns}}}",
    ]
    if dialect.header != "NONE":
        options.append("skip=1")
    return Input(f"read_csv({quoted(str(path))}, {', '.join(options)})", Columns("csv", count, names))


def _widest(path: Path, dialect: Dialect) -> tuple[int, str]:
    """How many fields a row may have at most (delimiters inside quotes are counted, too), and the first line."""
    widest, first, mark = 0, None, dialect.field.encode()
    with path.open("rb") as file:
        while lines := file.readlines(1 << 20):
            if first is None:
                first = lines[0].decode("utf-8", "replace").rstrip("\r\n")
            widest = max(widest, 1 + max(line.count(mark) for line in lines))
            if len(lines[0]) > LONGEST_RECORD:
                raise too_long()
    return widest, first or ""


def _header(line: str, dialect: Dialect) -> tuple[str, ...]:
    escape = dialect.escape if dialect.escape and dialect.escape != dialect.quote else None
    reader = csv.reader(
        [line],
        delimiter=dialect.field,
        quotechar=dialect.quote or None,
        escapechar=escape,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
    )
    try:
        return tuple(next(reader, []))
    except csv.Error as fault:
        raise wrong("CSVParsingError", f"Encountered an error parsing the CSV file: {fault}") from fault


# --- JSON and Parquet -------------------------------------------------------------------------------------------------


def json_input(path: Path, type_: str) -> Input:
    """A spooled JSON object: a value a line, or values one after another."""
    if type_ not in ("DOCUMENT", "LINES"):
        raise wrong("InvalidJsonType", "The JsonType is not valid. Only DOCUMENT and LINES are supported.")
    form = "newline_delimited" if type_ == "LINES" else "unstructured"
    options = f"format={quoted(form)}, maximum_object_size={LONGEST_RECORD * 2}"
    return Input(f"(SELECT json AS j FROM read_json_objects({quoted(str(path))}, {options}))", Columns(JSON))


def parquet_input(path: Path, lens: Lens, span: tuple[int, int | None] | None = None) -> Input:
    """A spooled Parquet object. With `span`, a first and a last byte: the row groups that begin between them."""
    relation = f"read_parquet({quoted(str(path))})"
    if span is not None:
        relation = f"({_groups(path, lens, *span)})"
    return Input(relation, Columns("parquet", kinds={name: _kind(type_) for name, type_ in lens.columns(relation)}))


def _groups(path: Path, lens: Lens, start: int, end: int | None) -> str:
    """The rows of the row groups that begin between two bytes."""
    name = quoted(str(path))
    groups = lens.rows(
        "SELECT any_value(row_group_num_rows), min(coalesce(dictionary_page_offset, data_page_offset)) "
        f"FROM parquet_metadata({name}) GROUP BY row_group_id ORDER BY row_group_id"
    )
    chosen, at = ["false"], 0
    for count, begins in chain.from_iterable(groups):
        if start <= begins and (end is None or begins <= end):
            chosen.append(f"file_row_number BETWEEN {int(at)} AND {int(at + count) - 1}")
        at += count
    rows = f"read_parquet({name}, file_row_number=true)"
    return f"SELECT * EXCLUDE (file_row_number) FROM {rows} WHERE {' OR '.join(chosen)}"


def _kind(type_: str) -> str:
    if "(" not in type_ and "[" in type_ or type_.startswith(("STRUCT", "MAP")):
        return ANY
    if any(word in type_ for word in _NUMBERS):
        return NUMBER
    if type_ == "BOOLEAN":
        return BOOL
    if type_.startswith(("TIMESTAMP", "DATE")):
        return TIME
    return TEXT if type_ == "VARCHAR" else ANY


__all__ = ["Input", "Meter", "csv_input", "identifier", "json_input", "parquet_input", "spool", "unpacked", "within"]
