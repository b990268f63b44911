"""Call libvirtd from many threads, while it is held and let go, and see whether it can be called in the end. In a
sandbox:

    python -m tests.compat.real.daemon_calls FOLDER

prints a JSON object: how many calls were answered, how many given up, and how many sockets are left when all is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_session import Session
from backends.errors import Away

THREADS, HOLDS = 8, 3
HELD, BETWEEN = 2.5, 1.0
"""Seconds for which the daemon is held: longer than it takes to miss one sign of life; and between two such times."""
LONG = 12.0
"""Seconds for which it is held at last: longer than it takes to be given up."""
BLANK = """<domain type='lxc'><name>blank</name><memory>1024</memory>
<os><type>exe</type><init>/bin/true</init></os></domain>"""


def look(connection: Any) -> str:
    """Several calls, as the drivers' work has them."""
    connection.listAllDomains()
    return str(connection.lookupByName("blank").XMLDesc())


def sockets() -> int:
    """How many this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


def main(folder: Path) -> dict[str, int]:
    """See above."""
    daemon = OwnDaemon(folder, "calls", kvm=True, unified=False)
    session = Session(f"lxc+unix:///system?socket={daemon.socket}", daemon)
    session.run(lambda connection: connection.defineXML(BLANK).name())
    answered, given_up, over = [0] * THREADS, [0] * THREADS, threading.Event()

    def call(number: int) -> None:
        while not over.is_set():
            try:
                assert "blank" in session.run(look)
                answered[number] += 1
            except Away:
                given_up[number] += 1
                time.sleep(0.2)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    pid = daemon.pid()
    assert pid is not None
    for held in [HELD] * HOLDS + [LONG]:
        time.sleep(BETWEEN)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(held)
        os.kill(pid, signal.SIGCONT)
    time.sleep(BETWEEN)
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a call never ended"
    deadline = time.monotonic() + 60
    while True:
        try:
            session.run(lambda connection: connection.lookupByName("blank").undefine())
            break
        except Away:
            assert time.monotonic() < deadline, "the daemon is not called any more"
            time.sleep(0.2)
    session.close()
    daemon.end()
    while (left := sockets()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return {"answered": sum(answered), "given up": sum(given_up), "left": left}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
