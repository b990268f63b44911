"""What a database's fault says of the disk below it."""

from __future__ import annotations

from backends.errors import DriverError, Exhausted, NativeError


def shortage(fault: BaseException) -> NativeError | None:
    """What a fault of the database says of the disk below it: `Exhausted` when it is full, `DriverError` when it fails
    to write or read, None when it says something else."""
    origin = getattr(fault, "orig", None) or fault
    name = getattr(origin, "sqlite_errorname", "") or ""
    state = getattr(origin, "sqlstate", "") or ""
    if name.startswith("SQLITE_FULL") or state == "53100":
        return Exhausted("no room is left for the database")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_CANTOPEN", "SQLITE_READONLY")) or state[:2] == "58":
        return DriverError(f"the database cannot be read or written: {origin}")
    return None
