"""What an import has done already, and what it was about to do when it ended."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


class Item(NamedTuple):
    """A version to copy (`version` is None where only what is current is copied), or a delete marker."""

    key: str
    version: str | None
    etag: str
    size: int
    modified: datetime
    marker: bool = False

    @property
    def mark(self) -> str:
        """What changes when the object does: its date does so for other metadata, too."""
        return f"{self.etag} {self.modified.isoformat()}"


class Journal:
    """An SQLite file. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, check_same_thread=False)
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS done (bucket TEXT, key TEXT, version TEXT, etag TEXT,"
            " PRIMARY KEY (bucket, key, version)) WITHOUT ROWID"
        )
        self._file.execute("CREATE TABLE IF NOT EXISTS begun (upload TEXT PRIMARY KEY, bucket TEXT, key TEXT)")
        self._lock = threading.Lock()
        self._open = 0

    def has(self, bucket: str, item: Item) -> bool:
        """Whether this very content was copied."""
        of = (bucket, item.key, item.version or "")
        with self._lock:
            row = self._file.execute(
                "SELECT etag FROM done WHERE bucket = ? AND key = ? AND version = ?", of
            ).fetchone()
        return row is not None and row[0] == item.mark

    def add(self, bucket: str, items: Iterable[Item]) -> None:
        """Note what was copied; on disk at the latest a hundred objects later."""
        rows = [(bucket, item.key, item.version or "", item.mark) for item in items]
        with self._lock:
            self._file.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", rows)
            self._open += len(rows)
            if self._open >= 100:
                self._save()

    def begin(self, bucket: str, key: str, upload: str) -> None:
        """Note, on disk, that an upload in parts was begun at the target."""
        with self._lock:
            self._file.execute("INSERT OR REPLACE INTO begun VALUES (?, ?, ?)", (upload, bucket, key))
            self._save()

    def end(self, upload: str) -> None:
        """It is over."""
        with self._lock:
            self._file.execute("DELETE FROM begun WHERE upload = ?", (upload,))
            self._save()

    def begun(self, bucket: str) -> list[tuple[str, str]]:
        """Key and id of every upload that was begun and is not over."""
        with self._lock:
            return self._file.execute("SELECT key, upload FROM begun WHERE bucket = ?", (bucket,)).fetchall()

    def close(self) -> None:
        """Save and close."""
        self.save()
        self._file.close()

    def save(self) -> None:
        """Everything on disk."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        self._file.commit()
        self._open = 0
