"""The order in which an import brings versions and markers, which lists tell apart and date in whole seconds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.importing import Importer
from gateway.importing_journal import Journal

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


class Source:
    """A store with some keys: each has its history, newest first, where `-` is a marker."""

    def __init__(self, **keys: str) -> None:
        self.rows: list[dict[str, Any]] = [
            {"Key": key, "VersionId": f"{key}{name}{place}", "IsLatest": place == 0, "LastModified": MOMENT}
            | ({} if name == "-" else {"ETag": f'"{name}"', "Size": 1})
            for key, history in keys.items()
            for place, name in enumerate(history)
        ]
        self.asked = 0

    def get_paginator(self, name: str) -> Source:
        assert name == "list_object_versions"
        return self

    def paginate(self, Prefix: str = "", PaginationConfig: Any = None, **about: Any) -> Iterator[dict[str, Any]]:
        rows = [row for row in self.rows if row["Key"].startswith(Prefix)]
        size = (PaginationConfig or {"PageSize": 1000})["PageSize"]
        for begin in range(0, len(rows), size):
            self.asked += 1
            page = rows[begin : begin + size]
            yield {
                "Versions": [row for row in page if "ETag" in row],
                "DeleteMarkers": [row for row in page if "ETag" not in row],
            }


@pytest.mark.parametrize("history", ["ab-cd", "-ab-c-", "a-", "--a", "a-b"])
def test_versions_and_markers_of_one_second_keep_their_order(tmp_path: Path, history: str) -> None:
    source, journal = Source(a=history, aa="x-y", b="vw"), Journal(tmp_path / "journal")
    work = Importer(source, source, journal, versions=True, workers=1)
    found = ["".join("-" if one.marker else one.etag for one in items) for items in work._keys("bucket")]
    assert found == [history[::-1], "y-x", "wv"]
    journal.close()


def test_pages_of_one_are_asked_for_only_where_they_tell_something(tmp_path: Path) -> None:
    source, journal = Source(a="abc", b="d", c="--"), Journal(tmp_path / "journal")
    work = Importer(source, source, journal, versions=True, workers=1)
    assert [len(items) for items in work._keys("bucket")] == [3, 1, 2]
    assert source.asked == 1
    journal.close()
