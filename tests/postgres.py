"""A private PostgreSQL cluster for tests: made with initdb in a temporary folder, reached through a socket in it.

The folder lies in memory, where there is room: a database is some three hundred files, which a slow disk takes a second
to make and another one to remove.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

# PostgreSQL refuses to run as root: then the cluster belongs to the first of these users that exists.
SERVANTS = ("postgres", "nobody")
MEMORY, ROOM = Path("/dev/shm"), 2 << 30
"""A file system in memory, and how many bytes of it are to be free."""


@functools.cache
def directory() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of Debian's, else the PATH's; None when there is no PostgreSQL."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0)
    )
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@functools.cache
def missing() -> str | None:
    """Why there can be no cluster here, or None when there can."""
    if directory() is None:
        return (
            "PostgreSQL is not installed (no initdb in /usr/lib/postgresql/*/bin or PATH): `apt-get install postgresql`"
        )
    if os.geteuid() == 0 and _servant() is None:
        return f"PostgreSQL does not run as root, and none of the users {', '.join(SERVANTS)} exists"
    return None


def _servant() -> pwd.struct_passwd | None:
    for name in SERVANTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _place() -> Path | None:
    """Where clusters go; None for where all temporary files do."""
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        return None
    return MEMORY if room >= ROOM and os.access(MEMORY, os.W_OK) else None


class Cluster:
    """One running cluster, for the length of a `with`. Durability is off: it does not outlive the tests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nephele-postgres-", dir=_place()))
        self._identity: dict[str, Any] = {}
        servant = _servant() if os.geteuid() == 0 else None
        if servant is not None:
            os.chown(self.folder, servant.pw_uid, servant.pw_gid)
            self._identity = {"user": servant.pw_uid, "group": servant.pw_gid, "extra_groups": []}

    def __enter__(self) -> Cluster:
        self._run("initdb", "--auth=trust", "--username=nephele", "--encoding=UTF8", "--no-locale", "--no-sync")
        hasty = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_wal_size=128MB"
        options = f"-c listen_addresses= {hasty} -c max_connections=200 -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self._tell(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://nephele@/{name}?host={self.folder}"

    def drop_database(self, url: str) -> None:
        """Forget a database, whoever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        self._tell(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _tell(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="nephele", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        binaries = directory()
        assert binaries is not None
        subprocess.run(
            [binaries / program, "-D", self.folder / "data", *arguments],
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            timeout=110,
            **self._identity,
        )
