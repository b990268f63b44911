"""`make bench`: start, memory and speed of Nephele, beside its peers, in one run.

Every figure that counts is a ratio between servers that were measured in turn, round by round, on the same machine:
the median of the rounds is told. Single times depend on the machine and are shown only to make sense of the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import objects, servers, streams
from bench.requests import CASES, Case, seed, write_script
from bench.servers import Running

Rates = dict[str, dict[str, list[float]]]  # case → server → requests a second, one a round

# (case, peer) → what `nephele / peer` should be at least, by the issue that set it.
AIMS = {"moto": 5.0, "ministack": 1.0}
RELAXED = {("EC2 DescribeInstances 100", "ministack"): 0.5}


def load(case: Case, server: Running, seconds: int, connections: int = 16) -> float:
    """Requests a second that wrk gets out of a server; an answer that is no success counts for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(case, server.endpoint, Path(folder))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), server.endpoint + case.path]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    total = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]  # wrk always says so
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    good = total - (int(failed[1]) if failed else 0)
    return rate * good / total if total else 0.0


def measure_requests(peers: list[str], rounds: int, seconds: int, only: str) -> Rates:
    """Run every case against every server, round by round."""
    makers: dict[str, Callable[[], contextlib.AbstractContextManager[Running]]] = {
        "nephele": servers.nephele,
        "moto": servers.moto,
        "ministack": servers.ministack,
        "bare": servers.bare,
    }
    rates: Rates = {}
    with contextlib.ExitStack() as stack:
        running = {}
        for name in ("nephele", *peers, "bare"):
            print("Starting", name, "…", flush=True)
            running[name] = stack.enter_context(makers[name]())
            if name != "bare":
                seed(running[name].endpoint)
        for case in CASES:
            if only and only.lower() not in case.name.lower():
                continue
            for _ in range(rounds):
                for name, server in running.items():
                    rate = load(case, server, seconds)
                    rates.setdefault(case.name, {}).setdefault(name, []).append(rate)
            middle = {name: statistics.median(values) for name, values in rates[case.name].items()}
            print(f"  {case.name:28}", *(f"{name} {rate:9.1f}/s" for name, rate in middle.items()), flush=True)
    return rates


def table(rates: Rates, peers: list[str]) -> str:
    """The ratios as Markdown."""
    lines = ["| request | requests/s | " + " | ".join(f"× {peer}" for peer in peers) + " | of bare uvicorn |"]
    lines.append("|---|---|" + "---|" * (len(peers) + 1))
    for case, by_server in rates.items():
        own = by_server["nephele"]
        cells = [f"{statistics.median(own):.0f}"]
        for peer in peers:
            ratio = statistics.median(a / b if b else float("inf") for a, b in zip(own, by_server[peer], strict=True))
            aim = RELAXED.get((case, peer), AIMS[peer])
            cells.append(f"{ratio:.1f}" + ("" if ratio >= aim else f" (aim {aim:g})"))
        bare = statistics.median(a / b for a, b in zip(own, by_server["bare"], strict=True))
        cells.append(f"{bare:.2f}")
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure_start(rounds: int) -> str:
    """Start to `Ready.` and idle memory."""
    times, memory = [], []
    for _ in range(rounds + 1):
        with servers.nephele() as running:
            times.append(running.started_in)
            memory.append(running.resident())
    return (
        f"Start to `Ready.`: {statistics.median(times[1:]):.2f} s (aim 1.5 s); "
        f"resident when idle: {statistics.median(memory) / 2**20:.0f} MiB (aim 120 MiB)."
    )


def main() -> None:
    """Measure, print, and write bench/results.md when asked."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of load per case, server and round")
    parser.add_argument("--peers", default="moto,ministack", help="comma-separated; empty for none")
    parser.add_argument("--only", default="", help="only the requests whose name has this text")
    parser.add_argument("--streams", action="store_true", help="also the long transfers (GiB; minutes)")
    parser.add_argument("--objects", action="store_true", help="also objects in number (a million keys; minutes)")
    parser.add_argument("--write", action="store_true", help="write bench/results.md")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed. On Debian and Ubuntu: apt-get install wrk")
    peers = [peer for peer in options.peers.split(",") if peer]
    parts = [measure_start(options.rounds)]
    print(parts[0], flush=True)
    parts.append(table(measure_requests(peers, options.rounds, options.seconds, options.only), peers))
    print(parts[-1], flush=True)
    if options.streams:
        parts.append(streams.measure())
        print(parts[-1], flush=True)
    if options.objects:
        parts.append(objects.measure(options.seconds))
    if options.write:
        about = f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        about += f"{options.rounds} rounds of {options.seconds} s, 16 connections, one process, "
        about += "`--auth enforce`, every write fsynced. `make bench` reproduces it."
        (servers.ROOT / "bench" / "results.md").write_text(
            "# Measured\n\n" + about + "\n\n" + "\n\n".join(parts) + "\n"
        )


if __name__ == "__main__":
    main()
