"""A Nephele server as a user starts it: its own process, its own data folder, a port of its own choosing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent
ENDPOINT = re.compile(r"(http://127\.0\.0\.1:\d+)")
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}
"""Exit statuses that no test asks for."""


class Server:
    """A server that is ready when the constructor returns. Use it as a context manager, or end it with `stop`.

    `arguments` follow `nephele serve`; `environment` is added to the process's own, and `prefix` stands before the
    command. Standard output is kept in `banner`, standard error (the log) in the file `log`.
    """

    module = "gateway"
    """What is run."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        port: int = 0,
        prefix: Sequence[str] = (),
    ) -> None:
        self.data, self.arguments, self.environment = data, arguments, environment or {}
        self.prefix = prefix
        self.log = data.with_name(data.name + ".log")
        self.banner: list[str] = []
        self.endpoint = ""
        self._launch(port or (0 if prefix else self._hold()))

    def _hold(self) -> int:
        """A port that is ours as long as this object is there, so that a server that starts again finds it free: bound
        and not listened at, which keeps the kernel from giving it to anybody else who asks for any."""
        place = socket.socket()
        weakref.finalize(self, place.close)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.endpoint.rsplit(":", 1)[1])

    def _launch(self, port: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | self.environment
        command = [*self.prefix, sys.executable, "-m", self.module, "serve"]
        command += ["--port", str(port), "--data-dir", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.banner.clear()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner.append(line)
            if line.strip() == "Ready.":
                break
        else:
            status = self.process.wait()
            self.process.stdout.close()
            raise AssertionError(f"the server ended with {status}:\n{''.join(self.banner)}{self.log.read_text()}")
        addresses = ENDPOINT.findall("".join(self.banner))
        assert addresses, f"the banner names no endpoint: {self.banner}"
        self.endpoint = addresses[0]
        threading.Thread(target=self._drain, args=(self.process,), daemon=True).start()

    def _drain(self, process: subprocess.Popen[str]) -> None:
        """Read on, so that the server never blocks on a full pipe."""
        assert process.stdout is not None
        with process.stdout:
            self.banner.extend(process.stdout)

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=90)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait(timeout=90)

    def start_again(self) -> None:
        """Start anew on the same data and the same port, after `stop` or `kill`."""
        self._launch(self.port)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        status = self.process.poll()
        if status is None:
            self.stop()
        assert status not in CRASHES, f"the server crashed with {status}:\n{self.log.read_text()[-8000:]}"
