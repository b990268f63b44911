"""Waiting for a signal, whichever thread it comes to."""

from __future__ import annotations

import subprocess
import sys

from tests.server import ROOT

WAIT = """
import signal, threading, time
from gateway.signals import heard

told = []
with heard(lambda number, frame: told.append(number)) as woken:
    rest = threading.Event()
    other = threading.Thread(target=rest.wait, daemon=True)
    other.start()

    def send():
        time.sleep(0.2)  # until the main thread waits
        signal.pthread_kill(other.ident, signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    woken.recv(1)
    print(told)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


def test_a_signal_to_another_thread_is_heard() -> None:
    done = subprocess.run([sys.executable, "-c", WAIT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "[15]\nTrue\n", done.stderr
