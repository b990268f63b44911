"""Network namespaces with names, and the threads that live in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pyroute2 import IPRoute

from backends.errors import DriverError
from backends.network.drivers.base import T
from backends.network.drivers.linux.netlink import Reader
from backends.network.drivers.linux.nftables import Nftables
from backends.network.drivers.linux.transaction import Writer

FOLDER = Path("/run/netns")
"""Where `ip netns` looks, too."""
OWN = "/proc/thread-self/ns/net"
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED, MNT_DETACH = 0x1000, 0x4000, 0x100000, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Namespace:
    """A thread that lives in one namespace, with its netlink sockets and its nftables, opened when first used."""

    def __init__(self, path: str) -> None:
        """Enter the namespace behind a path. OSError when there is none."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self._file).st_ino
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"netns {os.path.basename(path)}")
        self._links: IPRoute | None = None
        self._rules: Nftables | None = None
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        try:
            self.run(lambda: _check(_libc.setns(self._file, CLONE_NEWNET), f"entering {path}"))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """The namespace, for netlink and setns."""
        return self._file

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` in the namespace, and wait for it. Not to be called from a thread that such work waits for."""
        return self._executor.submit(work).result()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do `work` in the namespace some time."""
        return self._executor.submit(work)

    @property
    def links(self) -> IPRoute:
        """Links, addresses, routes. On the namespace's own thread only, as are the next three."""
        if self._links is None:
            self._links = IPRoute()
        return self._links

    @property
    def rules(self) -> Nftables:
        """The ruleset."""
        if self._rules is None:
            self._rules = Nftables()
        return self._rules

    @property
    def writer(self) -> Writer:
        """The ruleset, for small changes."""
        if self._writer is None:
            self._writer = Writer()
        return self._writer

    @property
    def reader(self) -> Reader:
        """What is there, read without much ado."""
        if self._reader is None:
            self._reader = Reader()
        return self._reader

    def close(self) -> None:
        """End the thread. The namespace stays as long as it has a name, or a socket in it."""

        def end() -> None:
            for held in (self._links, self._rules, self._writer, self._reader):
                if held is not None:
                    held.close()

        with contextlib.suppress(Exception):
            self._executor.submit(end).result()
        self._executor.shutdown()
        os.close(self._file)


def visit(path: Path, work: Callable[[Namespace], T]) -> T:
    """Do `work` in a namespace on a thread for this once."""
    space = Namespace(str(path))
    try:
        return space.run(lambda: work(space))
    finally:
        space.close()


def names(prefix: str) -> list[str]:
    """The namespaces whose names begin so."""
    try:
        return sorted(name for name in os.listdir(FOLDER) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def make(name: str) -> Path:
    """Make a namespace with that name; what is left of one that has lost its mount is replaced. Returns its path."""
    prepare()
    path = FOLDER / name
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # fails for one that is in use
    fault: list[BaseException] = []

    def be_born() -> None:
        try:
            _check(_libc.unshare(CLONE_NEWNET), "making a network namespace")
            _check(_libc.mount(OWN.encode(), str(path).encode(), None, MS_BIND, None), f"naming {name}")
        except OSError as error:
            fault.append(error)

    path.touch(mode=0o444, exist_ok=True)
    thread = threading.Thread(target=be_born)
    thread.start()
    thread.join()
    if fault:
        raise fault[0]
    return path


def remove(name: str) -> None:
    """Take a namespace's name away. Without threads, sockets or processes in it, it is gone."""
    path = FOLDER / name
    while _libc.umount2(str(path).encode(), MNT_DETACH) == 0:
        pass
    path.unlink(missing_ok=True)


def prepare() -> None:
    """Make the folder of names, seen by every mount namespace of the machine, as `ip netns` does."""
    FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = str(FOLDER).encode()
    if _libc.mount(b"", folder, None, MS_SHARED | MS_REC, None) != 0:
        _check(_libc.mount(folder, folder, None, MS_BIND | MS_REC, None), f"binding {FOLDER}")
        _check(_libc.mount(b"", folder, None, MS_SHARED | MS_REC, None), f"sharing {FOLDER}")


def able() -> None:
    """Raise `DriverError`, with what is missing, on a machine where no namespaces can be made."""
    fault: list[str] = []

    def probe() -> None:
        if _libc.unshare(CLONE_NEWNET) != 0:
            fault.append(os.strerror(ctypes.get_errno()))

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    if fault:
        raise DriverError(
            f"no network namespace can be made ({fault[0]}): run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN), or under "
            "`unshare --map-root-user --net --mount`"
        )
    try:
        prepare()
    except OSError as error:
        raise DriverError(f"{FOLDER} cannot be used: {error}") from error
