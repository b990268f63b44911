"""Paths of the REST services other than S3, compiled out of the models."""

from __future__ import annotations

import re
from functools import cache

from compat.model import service_model

_LABEL = re.compile(r"\{([^}+]+)(\+?)\}")
_Entry = tuple[re.Pattern[bytes], tuple[str, ...], str]


def find(service: str, method: str, raw_path: bytes) -> tuple[str, dict[str, bytes]] | None:
    """The operation at a path and its labels as sent, or None. A trailing slash is no difference."""
    path = raw_path.rstrip(b"/") or b"/"
    for pattern, labels, operation in _table(service).get(method, ()):
        found = pattern.fullmatch(path)
        if found is not None:
            return operation, dict(zip(labels, found.groups(), strict=True))
    return None


@cache
def _table(service: str) -> dict[str, list[_Entry]]:
    """The templates by method, those with the most literal text first."""
    model = service_model(service)
    rows: dict[str, list[tuple[int, _Entry]]] = {}
    for name in model.operation_names:
        http = model.operation_model(name).http
        template = str(http["requestUri"]).partition("?")[0]
        labels, pattern, at = [], "", 0
        for label in _LABEL.finditer(template):
            labels.append(label[1])
            pattern += re.escape(template[at : label.start()]) + ("(.+)" if label[2] else "([^/]+)")
            at = label.end()
        pattern += re.escape(template[at:])
        literal = len(_LABEL.sub("", template))
        entry = (re.compile(pattern.encode(), re.DOTALL), tuple(labels), name)
        rows.setdefault(str(http["method"]), []).append((literal, entry))
    return {method: [entry for _, entry in sorted(row, key=lambda each: -each[0])] for method, row in rows.items()}
