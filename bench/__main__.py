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
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import objects, servers, streams
from bench.requests import CASES, Case, seed, write_script
from bench.servers import Running

Rates = dict[str, dict[str, list[tuple[float, float]]]]
"""Case → server → requests a second, and seconds of the server's processor time a request; one pair a round."""

# (case, peer) → what `nephele / peer` should be at least, by the issue that set it.
AIMS = {"moto": 5.0, "ministack": 1.0}
OF_BARE = {"S3 GET 1 KiB": 1 / 3}
RELAXED = {("EC2 DescribeInstances 100", "ministack"): 0.5}


def load(case: Case, server: Running, seconds: int, connections: int = 16) -> tuple[float, float]:
    """Requests a second that wrk gets out of a server, and what one costs it; an answer that is no success counts for
    nothing."""
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(case, server.endpoint, Path(folder))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), server.endpoint + case.path]
        before = server.processor_time()
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        computed = server.processor_time() - before
    total = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]  # wrk always says so
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    good = total - (int(failed[1]) if failed else 0)
    return (rate * good / total, computed / good) if good else (0.0, float("inf"))


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
                    told = load(case, server, seconds)
                    rates.setdefault(case.name, {}).setdefault(name, []).append(told)
            middle = {name: statistics.median(rate for rate, _ in told) for name, told in rates[case.name].items()}
            print(f"  {case.name:28}", *(f"{name} {rate:9.1f}/s" for name, rate in middle.items()), flush=True)
    return rates


def table(rates: Rates, peers: list[str]) -> str:
    """The ratios as Markdown; one that misses its aim says so."""
    names = [f"× {peer} (aim {AIMS[peer]:g})" for peer in peers]
    names += ["of bare uvicorn", "µs computed", "bare / that"]
    lines = ["| request | requests/s | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for case, by_server in rates.items():
        own = by_server["nephele"]
        cells = [f"{statistics.median(rate for rate, _ in own):.0f}"]
        for peer in peers:
            ratio = statistics.median(a / b if b else float("inf") for (a, _), (b, _) in _pairs(own, by_server[peer]))
            cells.append(_against(ratio, RELAXED.get((case, peer), AIMS[peer]), ratio < 100))
        bare = by_server["bare"]
        clock = statistics.median(a / b for (a, _), (b, _) in _pairs(own, bare))
        computed = statistics.median(b / a for (_, a), (_, b) in _pairs(own, bare))
        cells += [f"{clock:.2f}", f"{statistics.median(cost for _, cost in own) * 1e6:.0f}"]
        cells.append(_against(computed, OF_BARE[case], True, shown=True) if case in OF_BARE else f"{computed:.2f}")
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pairs(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> list[tuple[Any, Any]]:
    return list(zip(a, b, strict=True))


def _against(ratio: float, aim: float, fine: bool, *, shown: bool = False) -> str:
    """A ratio, with its aim where it is missed, or is to be shown."""
    text = f"{ratio:.2f}" if fine else f"{ratio:.0f}"
    if ratio < aim:
        return f"{text} (aim {aim:.2g}: missed)"
    return f"{text} (aim {aim:.2g})" if shown else text


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
    parser.add_argument("--seconds", type=int, default=2, help="seconds of load per case, server and round")
    parser.add_argument("--peers", default="moto,ministack", help="comma-separated; empty for none")
    parser.add_argument("--only", default="", help="only the requests whose name has this text")
    parser.add_argument("--streams", action="store_true", help="also the long transfers (GiB; minutes)")
    parser.add_argument("--objects", action="store_true", help="also objects in number (a million keys; minutes)")
    parser.add_argument("--full", action="store_true", help="all of it: some ten minutes")
    parser.add_argument("--write", action="store_true", help="write bench/results.md")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed. On Debian and Ubuntu: apt-get install wrk")
    peers = [peer for peer in options.peers.split(",") if peer]
    parts = [measure_start(options.rounds)]
    print(parts[0], flush=True)
    parts.append(table(measure_requests(peers, options.rounds, options.seconds, options.only), peers))
    print(parts[-1], flush=True)
    if options.streams or options.full:
        parts.append(streams.measure())
        print(parts[-1], flush=True)
    if options.objects or options.full:
        parts.append("## Objects in number\n\n" + objects.measure(options.seconds))
    if options.write:
        about = f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        about += f"{options.rounds} rounds of {options.seconds} s, 16 connections, one process, "
        given = f' ARGS="{shlex.join(sys.argv[1:])}"' if sys.argv[1:] else ""
        about += f"`--auth enforce`, every write fsynced. `make bench{given}` reproduces it."
        (servers.ROOT / "bench" / "results.md").write_text(
            "# Measured\n\n" + about + "\n\n" + "\n\n".join(parts) + "\n"
        )


if __name__ == "__main__":
    main()
