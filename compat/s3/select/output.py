"""Rows of an answer as CSV or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from compat.s3.select.language import wrong
from compat.s3.select.translate import JSON, Columns, Plan

Write = Callable[[Sequence[Any]], str]


MISSING = object()
"""What a JSON record does not have."""


def writer(wanted: Mapping[str, Any], plan: Plan, columns: Columns) -> Write:
    """What makes a record of a row of `plan`'s. Raises `AWSError`."""
    names = plan.names
    as_csv, as_json = wanted.get("CSV"), wanted.get("JSON")
    if (as_csv is None) == (as_json is None):
        raise wrong("InvalidRequestParameter", "One output format must be given: CSV or JSON.")
    if as_csv is not None:
        write = _csv(as_csv, names, columns)
    else:
        write = _json(as_json.get("RecordDelimiter", "\n") if as_json is not None else "\n", names, columns)
    if not any(plan.encoded):
        return write
    return lambda row: write([_decoded(value) if of else value for value, of in zip(row, plan.encoded, strict=True)])


def _decoded(text: Any) -> Any:
    return MISSING if text is None else json.loads(text)


def _csv(given: Mapping[str, Any], names: tuple[str, ...] | None, columns: Columns) -> Write:
    field, end = given.get("FieldDelimiter") or ",", given.get("RecordDelimiter", "\n")
    quote, escape = given.get("QuoteCharacter", '"') or '"', given.get("QuoteEscapeCharacter", '"') or '"'
    always = given.get("QuoteFields") == "ALWAYS"
    if given.get("QuoteFields") not in (None, "ALWAYS", "ASNEEDED"):
        raise wrong("InvalidQuoteFields", "The QuoteFields is not valid. Only ALWAYS and ASNEEDED are supported.")
    special = (field, quote, end, "\n", "\r")

    def shown(value: Any) -> str:
        text = as_text(value)
        if always or any(mark and mark in text for mark in special):
            return quote + text.replace(quote, escape + quote) + quote
        return text

    def write(row: Sequence[Any]) -> str:
        return field.join(shown(value) for value in _fields(row, names, columns)) + str(end)

    return write


def _fields(row: Sequence[Any], names: tuple[str, ...] | None, columns: Columns) -> Sequence[Any]:
    if names is not None:
        return row
    if columns.shape == JSON:
        record = _parsed(row[0])
        return list(record.values()) if isinstance(record, dict) else [record]
    return _present(row) if columns.shape == "csv" else row


def _present(row: Sequence[Any]) -> Sequence[Any]:
    """The fields that a row of CSV really had."""
    size = len(row)
    while size > 1 and row[size - 1] is None:
        size -= 1
    return row[:size]


def _json(end: str, names: tuple[str, ...] | None, columns: Columns) -> Write:
    headers = list(columns.names)

    def write(row: Sequence[Any]) -> str:
        if names is None and columns.shape == JSON:
            value = _parsed(row[0])
            record: Any = value if isinstance(value, dict) else {} if row[0] is None else {"_1": value}
            return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + end
        if names is None:
            present = _present(row) if columns.shape == "csv" else row
            if columns.shape == "csv":
                keys = [headers[at] if at < len(headers) else f"_{at + 1}" for at in range(len(present))]
            else:
                keys = list(columns.kinds)
            record = {key: _value(value) for key, value in zip(keys, present, strict=True)}
        else:
            record = {name: _value(value) for name, value in zip(names, row, strict=True) if value is not MISSING}
        return str(orjson.dumps(record, default=as_text).decode() + end)

    return write


def _parsed(text: Any) -> Any:
    return None if text is None else json.loads(text)


def _value(value: Any) -> Any:
    """A value of DuckDB's as JSON has it."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, (datetime, date)):
        return as_text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _value(one) for key, one in value.items()}
    return value


def as_text(value: Any) -> str:
    """A value as a field of CSV."""
    if value is None or value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        precision = (
            "seconds" if not value.microsecond else "microseconds" if value.microsecond % 1000 else "milliseconds"
        )
        return value.isoformat(timespec=precision).removesuffix("+00:00") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(_value(value), ensure_ascii=False, separators=(",", ":"), default=as_text)
    return str(_value(value))
