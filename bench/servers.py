"""The measured servers: Nephele, its peers from PyPI, and a bare uvicorn answer as the floor."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = ("moto[server]==5.2.5", "ministack==1.5.33")


@dataclass(frozen=True)
class Running:
    """A started server."""

    name: str
    endpoint: str
    pid: int
    started_in: float
    """Seconds from the start of the process to the first answer (for Nephele: to `Ready.`)."""

    def processor_time(self) -> float:
        """Seconds that the server has computed so far, on all its threads and in all its workers."""
        return sum(_computed(pid) for pid in _family(self.pid))

    def resident(self) -> int:
        """Resident bytes of the process now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    return found


def _computed(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install_peers() -> Path:
    """A virtual environment with the peers (their pins would fight with ours); its Python."""
    python = PEERS / "bin" / "python"
    mark = PEERS / ("installed-" + "-".join(package.replace("==", "-") for package in PEER_PACKAGES))
    if not mark.exists():
        print("Installing the peers (moto, MiniStack) into", PEERS.name, "…", flush=True)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
        mark.touch()
    return python


@contextlib.contextmanager
def process(
    name: str, arguments: list[str], port: int, environment: dict[str, str] | None = None, ready: bytes = b""
) -> Iterator[Running]:
    """Start a server, wait until it says `ready` (without: for its first answer), and end it afterwards."""
    endpoint = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            arguments, cwd=ROOT, env=_environment() | (environment or {}), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while True:
                if child.poll() is not None or time.perf_counter() - began > 60:
                    log.seek(0)
                    raise RuntimeError(f"{name} did not start:\n{log.read().decode()}")
                if ready:
                    if ready in os.pread(log.fileno(), 1 << 16, 0):
                        break
                    time.sleep(0.005)
                    continue
                try:
                    urllib.request.urlopen(endpoint + "/", timeout=5).close()
                except urllib.error.HTTPError:
                    pass
                except OSError:
                    time.sleep(0.01)
                    continue
                break
            yield Running(name, endpoint, child.pid, time.perf_counter() - began)
        finally:
            child.terminate()
            child.wait(30)


def _environment() -> dict[str, str]:
    """This process's, with modules kept compiled: the second start is the one that is measured."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def nephele(*arguments: str) -> Iterator[Running]:
    """Nephele as a user starts it: enforcing, durable, one process; its data in a folder that is removed afterwards."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nephele-bench-", dir=os.environ.get("NEPHELE_BENCH_DIR")) as folder:
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--data-dir", folder, *arguments]
        with process("nephele", command, port, {"NEPHELE_LOG_LEVEL": "warning"}, b"Ready.\n") as running:
            yield running


@contextlib.contextmanager
def moto() -> Iterator[Running]:
    """moto's server."""
    port = free_port()
    python = install_peers()
    with process("moto", [str(python.parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], port) as running:
        yield running


@contextlib.contextmanager
def ministack() -> Iterator[Running]:
    """MiniStack, on the loopback only, without its MQTT listener."""
    port = free_port()
    python = install_peers()
    command = [str(python), "-m", "hypercorn", "ministack.app:app", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    environment = {"GATEWAY_PORT": str(port), "IOT_MTLS_PORT": "0", "LOG_LEVEL": "ERROR"}
    with process("ministack", command, port, environment) as running:
        yield running


@contextlib.contextmanager
def bare() -> Iterator[Running]:
    """A bare ASGI answer of 1 KiB under the same uvicorn, loop and parser: what no server here can beat."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.bare:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with process("bare uvicorn", command, port) as running:
        yield running
