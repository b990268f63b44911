"""Long transfers: throughput against hashing and against memory, and how the server's memory grows meanwhile."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import awscrt.checksums
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench import servers
from bench.requests import BUCKET, client
from bench.servers import Running

MIB = 2**20
BLOCK = os.urandom(MIB)


class Unsigned(S3SigV4Auth):
    """Signs the head alone: what is measured is the server, not the hashing of the client."""

    def payload(self, request: AWSRequest) -> str:
        """What stands for the body in the signature."""
        return "UNSIGNED-PAYLOAD"


def signed(method: str, server: Running, key: str, length: int | None = None) -> tuple[http.client.HTTPConnection, str]:
    """An open connection on which a request with an unsigned payload was begun."""
    url = f"{server.endpoint}/{BUCKET}/{key}"
    request = AWSRequest(method=method, url=url)
    Unsigned(Credentials("test", "test"), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc, timeout=600)
    connection.putrequest(method, f"/{BUCKET}/{key}", skip_host=False, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    if length is not None:
        connection.putheader("Content-Length", str(length))
    connection.endheaders()
    return connection, url


def upload(server: Running, key: str, mebibytes: int) -> float:
    """Seconds that a PUT of that size takes."""
    began = time.perf_counter()
    connection, _ = signed("PUT", server, key, mebibytes * MIB)
    for _ in range(mebibytes):
        connection.send(BLOCK)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"PUT answered {answer.status}")
    connection.close()
    return time.perf_counter() - began


def download(server: Running, key: str) -> tuple[int, float]:
    """Bytes, and seconds that a GET takes."""
    began = time.perf_counter()
    connection, _ = signed("GET", server, key)
    answer = connection.getresponse()
    buffer, total = bytearray(MIB), 0
    while count := answer.readinto(buffer):
        total += count
    connection.close()
    return total, time.perf_counter() - began


def hashing(mebibytes: int) -> float:
    """Seconds that the MD5 of so many bytes takes: what an ETag costs at least."""
    began = time.perf_counter()
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(mebibytes):
        digest.update(BLOCK)
    return time.perf_counter() - began


def hashing_of_a_signed_part(mebibytes: int) -> float:
    """Seconds for what S3 has to compute of a part that the AWS CLI sends: its MD5, the SHA-256 that is signed, the
    CRC-32 that comes with it."""
    hashes = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    code = 0
    began = time.perf_counter()
    for _ in range(mebibytes):
        for digest in hashes:
            digest.update(BLOCK)
        code = awscrt.checksums.crc32(BLOCK, code)
    return time.perf_counter() - began


def growth(server: Running, work: Callable[[], object]) -> int:
    """How many bytes the server's resident memory rose at most while `work` ran."""
    before = server.resident()
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], server.resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak[0] - before


def _lines() -> Iterator[str]:
    with servers.nephele() as server:
        client("s3", server.endpoint).create_bucket(Bucket=BUCKET)
        upload(server, "warm", 16)
        rates = []
        for _ in range(9):
            total, seconds = download(server, "warm")
            rates.append(total / seconds / 2**30)
        yield f"GET of 16 MiB: {sorted(rates)[len(rates) // 2]:.2f} GiB/s (aim 1 GiB/s where the loopback allows)."
        ratios = []
        for _ in range(3):
            ratios.append(upload(server, "one", 1024) / hashing(1024))
        yield f"PUT of 1 GiB: {sorted(ratios)[1]:.2f} times the time that its MD5 takes (aim 1.5)."
        # S3 takes 5 GiB in one PUT: ten are two objects.
        rise = growth(server, lambda: [upload(server, name, 5 * 1024) for name in ("five", "ten")])
        yield f"Resident memory during uploads of 10 GiB: +{rise / MIB:.0f} MiB (aim 64 MiB)."
        rise = growth(server, lambda: [download(server, name) for name in ("five", "ten")])
        yield f"Resident memory during downloads of 10 GiB: +{rise / MIB:.0f} MiB (aim 64 MiB)."


def measure() -> str:
    """All long transfers, a line each."""
    return "\n\n".join(_lines())
