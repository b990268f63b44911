"""`nephele audit` and `nephele sweep`, beside a running server, and what the server then says of damaged objects."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.compat.conftest import new_client
from tests.compat.passing import until
from tests.server import ROOT, Server


def nephele(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def files(data: Path) -> list[Path]:
    return sorted(path for path in (data / "objects").glob("[0-9a-f][0-9a-f]/*"))


def test_rot_is_found_told_and_answered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data) as server:
        s3 = new_client(server.endpoint, "s3", "test")
        s3.create_bucket(Bucket="rotting")
        for key in ("one", "two"):
            s3.put_object(Bucket="rotting", Key=key, Body=key.encode() * 20_000)
        sound = nephele("audit", "--data-dir", str(data))
        assert (sound.returncode, sound.stderr) == (0, ""), sound.stderr
        assert "0 damaged" in sound.stdout
        file = files(data)[0]
        content = file.read_bytes()
        file.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
        found = nephele("audit", "--data-dir", str(data), "--rate", "100")
        assert found.returncode == 1
        assert "damaged: s3://rotting/" in found.stderr and "its bytes changed" in found.stderr
        assert (data / "objects" / "quarantine" / file.name).exists()
        key = found.stderr.partition("s3://rotting/")[2][:3]
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket="rotting", Key=key)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert "damaged" in caught.value.response["Error"]["Message"]
        other = {"one": "two", "two": "one"}[key]
        assert s3.get_object(Bucket="rotting", Key=other)["Body"].read() == other.encode() * 20_000
        s3.put_object(Bucket="rotting", Key=key, Body=b"new")
        assert nephele("audit", "--data-dir", str(data)).returncode == 0


def test_the_server_audits_by_itself(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data) as server:
        s3 = new_client(server.endpoint, "s3", "test")
        s3.create_bucket(Bucket="rotting")
        s3.put_object(Bucket="rotting", Key="k", Body=b"k" * 50_000)
        file = files(data)[0]
        file.write_bytes(b"?" + file.read_bytes()[1:])
        server.stop()
        server.environment["NEPHELE_AUDIT_RATE"] = "50"
        server.start_again()
        aside = data / "objects" / "quarantine" / file.name
        until(aside.exists)


def test_orphans_are_swept_beside_a_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data, "--workers", "2") as server:
        s3 = new_client(server.endpoint, "s3", "test")
        s3.create_bucket(Bucket="swept")
        s3.put_object(Bucket="swept", Key="k", Body=b"k" * 50_000)
        (kept,) = files(data)
        old, young = (data / "objects" / "ab" / ("ab" + digit * 30) for digit in "01")
        for orphan in (old, young):
            orphan.write_bytes(b"orphan")
        then = time.time() - 300  # too young for the server, which sweeps when it has started
        os.utime(old, (then, then))
        told = nephele("sweep", "--data-dir", str(data), "--grace", "60")
        assert told.stdout == "3 files seen, 1 removed.\n", told.stderr
        assert set(files(data)) == {kept, young}


def test_where_there_is_no_store(tmp_path: Path) -> None:
    told = nephele("audit", "--data-dir", str(tmp_path / "nowhere"))
    assert (told.returncode, told.stderr) == (2, f"nephele: data_dir: there is no Nephele in {tmp_path}/nowhere\n")
