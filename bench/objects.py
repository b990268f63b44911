"""Objects in number: deletes by the thousand, pages out of a million keys, many clients, workers, the AWS CLI."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import servers
from bench.requests import BUCKET, CASES, client, write_script
from bench.servers import Running
from bench.streams import BLOCK, hashing_of_a_signed_part

FEW, MANY, FOLDERS = 10_000, 1_000_000, 2000
ROUNDS = 6


def spent(server: Running, work: Callable[[], object], times: int = 1) -> float:
    """Seconds of the server's processor time that `work` takes, on the average of `times`."""
    before = server.processor_time()
    for _ in range(times):
        work()
    return (server.processor_time() - before) / times


def fill(folder: str, bucket: str, keys: int) -> None:
    """Put rows of empty objects straight into the index of a server that does not run, in FOLDERS folders."""
    from sqlalchemy import insert, select

    from backends.db import Database
    from backends.object.models import LIVE, Container, Version

    database = Database(f"sqlite:///{folder}/nephele.db")
    with database.writer.begin() as connection:
        container = connection.scalar(select(Container.number).where(Container.name == bucket))
        assert container is not None, f"there is no bucket {bucket}"
        row: dict[str, Any] = dict.fromkeys(("version", "storage", "checksum", "owner", "facts", "tags"), "")
        row |= {"container": container, "shelf": LIVE, "rank": -1, "modified": 1, "etag": "d" * 32, "grants": ""}
        row |= {"marker": 0, "size": 0, "parts": 0}
        for start in range(0, keys, 10_000):
            rows = [
                row | {"key": b"folder-%06d/key-%08d" % (i // (keys // FOLDERS), i)}
                for i in range(start, min(start + 10_000, keys))
            ]
            connection.execute(insert(Version), rows)
    database.close()


def deletes(server: Running) -> str:
    """DeleteObjects of 1,000 keys."""
    s3 = client("s3", server.endpoint)
    wall, computed = [], []
    for _ in range(5):
        names = [f"doomed/{number:04d}" for number in range(1000)]
        for name in names:
            s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
        objects = {"Objects": [{"Key": name} for name in names]}
        time.sleep(0.5)  # what the uploads left to do in the background is not the delete's
        began = time.perf_counter()
        computed.append(spent(server, lambda objects=objects: s3.delete_objects(Bucket=BUCKET, Delete=objects)))  # type: ignore[misc]
        wall.append(time.perf_counter() - began)
    return (
        f"DeleteObjects of 1,000 keys: {statistics.median(computed) * 1000:.0f} ms of the server's processor time, "
        f"{statistics.median(wall) * 1000:.0f} ms until boto3 has the answer (aim 100 ms)."
    )


def pages(server: Running) -> str:
    """A page of 1,000 with a delimiter, out of many keys and out of few."""
    s3 = client("s3", server.endpoint)

    def page(bucket: str, delimiter: str) -> Callable[[], object]:
        # In the middle, so that a listing which reads from the start would show: the last 1,000 of 2,000 folders.
        after = f"folder-{FOLDERS // 2 - 1:06d}/" if delimiter else ""
        return lambda: s3.list_objects_v2(Bucket=bucket, Delimiter=delimiter, StartAfter=after, MaxKeys=1000)

    lines = []
    for delimiter, name in (("/", "with"), ("", "without")):
        for bucket in ("few", "many"):
            page(bucket, delimiter)()
        ratios = []
        for _ in range(5):
            few = spent(server, page("few", delimiter), 20)
            many = spent(server, page("many", delimiter), 20)
            ratios.append((many / few, few, many))
        ratio, few, many = sorted(ratios)[2]
        lines.append(
            f"ListObjectsV2 page {name} delimiter: {many * 1000:.1f} ms out of {MANY:,} keys, {few * 1000:.1f} ms out "
            f"of {FEW:,}: {ratio:.2f} times (aim 2)."
        )
    return "\n\n".join(lines)


def crowd(server: Running, seconds: int) -> str:
    """64 clients at once on one process."""
    lines = []
    for case in CASES[:2]:
        told = _wrk(case, server, seconds, 64)
        rate, faults, half, late = told
        lines.append(
            f"64 clients at once, {case.name}: {rate:.0f}/s, {faults} errors, p50 {half:.1f} ms, p99 {late:.1f} ms: "
            f"{late / half:.1f} times (aim 20)."
        )
    return "\n\n".join(lines)


def _wrk(
    case: Any, server: Running, seconds: int, connections: int, *, yields: bool = False
) -> tuple[float, int, float, float]:
    """Requests a second, errors, and the 50th and 99th of a hundred latencies in ms.

    yields: the load takes its turns like any other process. By default Linux lets it interrupt a server, on whose
    processor it runs, at every answer: two switches and cold caches a request.
    """
    import re

    with tempfile.TemporaryDirectory() as folder:
        script = write_script(case, server.endpoint, Path(folder))
        with script.open("a") as out:
            out.write(
                "done = function(summary, latency, requests)\n"
                "  local e = summary.errors\n"
                '  print("FOUND", summary.requests / summary.duration * 1e6,\n'
                "    e.connect + e.read + e.write + e.status + e.timeout,\n"
                "    latency:percentile(50) / 1000, latency:percentile(99) / 1000)\n"
                "end\n"
            )
        command = [
            *(("chrt", "--batch", "0") if yields else ()),
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "-s",
            str(script),
            server.endpoint + case.path,
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"FOUND\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", told)
    assert found is not None, told
    return float(found[1]), int(float(found[2])), float(found[3]), float(found[4])


def workers(seconds: int) -> str:
    """Two workers against one, where nothing but the processor limits: reads.

    Both servers stand at once and take turns, and between them the machine says what two processes that only compute
    gain here: processors that share a core never give twice as much.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    alone: list[float] = []
    with servers.nephele() as one, servers.nephele("--workers", "2") as two:
        for server in (one, two):
            _seed(server)
        for _ in range(ROUNDS):
            for count, server in ((1, one), (2, two)):
                before = server.processor_time()
                rates[count].append(_wrk(CASES[0], server, seconds, 64, yields=True)[0])
                costs[count].append((server.processor_time() - before) / (rates[count][-1] * seconds))
            alone.append(_computes(2) / _computes(1))
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    cost_of_one, cost_of_two = (statistics.median(costs[count]) * 1e6 for count in rates)
    return (
        f"Two workers: {ratio:.2f} times the GETs of one (aim 1.6, where there are processors for the load too). Two "
        f"processes that only compute did {statistics.median(alone):.2f} times as much as one on these "
        f"{os.cpu_count()} processors, which carry the load, too; a GET takes {cost_of_two:.0f} µs of processor time, "
        f"with one worker {cost_of_one:.0f} µs."
    )


def _computes(processes: int, seconds: float = 0.5) -> int:
    """Turns of a loop that so many processes do together in that time."""
    program = (
        "import sys, time\nend, turns, kept = time.monotonic() + float(sys.argv[1]), 0, {}\n"
        "while time.monotonic() < end:\n"
        "    for number in range(1000): kept[number] = str(number)[::-1]\n"
        "    turns += 1\nprint(turns)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(seconds)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return sum(int(process.communicate()[0]) for process in running)


def cli(server: Running, mebibytes: int = 1024) -> str:
    """`aws s3 cp` of 1 GiB: the processor time of the server against that of what it has to hash."""
    with tempfile.NamedTemporaryFile(dir=os.environ.get("NEPHELE_BENCH_DIR")) as file:
        for _ in range(mebibytes):
            file.write(BLOCK)
        file.flush()
        environment = os.environ | {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        command = [sys.executable, "-m", "awscli", "s3", "cp", "--quiet", file.name, f"s3://{BUCKET}/large"]
        began = time.perf_counter()
        computed = spent(server, lambda: subprocess.run(command, env=environment, check=True))
        wall = time.perf_counter() - began
        least = hashing_of_a_signed_part(mebibytes)
    return (
        f"aws s3 cp of 1 GiB: {wall:.1f} s, while the server computed for {computed:.1f} s. What it has to hash (MD5, "
        f"the SHA-256 that is signed, CRC-32) takes {least:.1f} s alone: {100 * least / computed:.0f} % of that."
    )


def _seed(server: Running) -> None:
    s3 = client("s3", server.endpoint)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="one", Body=bytes(1024))


def _lines(seconds: int) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="nephele-bench-", dir=os.environ.get("NEPHELE_BENCH_DIR"))
    try:
        with servers.nephele("--data-dir", folder) as server:
            _seed(server)
            for bucket in ("few", "many"):
                client("s3", server.endpoint).create_bucket(Bucket=bucket)
        fill(folder, "few", FEW)
        fill(folder, "many", MANY)
        with servers.nephele("--data-dir", folder) as server:
            yield pages(server)
            yield deletes(server)
            yield crowd(server, seconds)
            yield cli(server)
        yield workers(seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(seconds: int = 3) -> str:
    """All of it, a paragraph each."""
    told = []
    for line in _lines(seconds):
        print(line, flush=True)
        told.append(line)
    return "\n\n".join(told)


if __name__ == "__main__":
    measure()
