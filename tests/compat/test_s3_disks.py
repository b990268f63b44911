"""Disks that are full or broken: S3's own errors, nothing half, nothing lost, and all well again when there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.compat.conftest import new_client
from tests.compat.passing import until
from tests.server import Server

pytestmark = pytest.mark.embedded
Client = Any
ACCOUNT = "123456789012"
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder on a file system of 24 MiB in a mount namespace of its own, and what to start programs there with."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    held = f"mount -t tmpfs -o size=24m tmpfs {folder} && echo ready && exec cat"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    with holder.stdout, holder.stdin:
        if holder.stdout.readline() != b"ready\n":
            holder.wait()
            pytest.skip("this machine lets nobody mount a file system")
        yield folder, ("nsenter", "-t", str(holder.pid), "-m")
    holder.wait()


def attempt(s3: Client, key: str, body: bytes) -> bool:
    """Put an object; whether there was room. Anything but S3's word for that fails the test."""
    try:
        s3.put_object(Bucket="full", Key=key, Body=body)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "SlowDown", error
        return False
    return True


def fill(s3: Client, prefix: str, size: int, most: int) -> dict[str, bytes]:
    """Put objects until there is no room for one."""
    kept: dict[str, bytes] = {}
    for number in range(most):
        key, body = f"{prefix}-{number:05}", os.urandom(size)
        if not attempt(s3, key, body):
            return kept
        kept[key] = body
    raise AssertionError("the disk was never full")


def check(s3: Client, kept: dict[str, bytes]) -> None:
    listed = [one["Key"] for page in _pages(s3) for one in page.get("Contents", ())]
    assert listed == sorted(kept)
    for key, body in kept.items():
        assert s3.get_object(Bucket="full", Key=key)["Body"].read() == body


def _pages(s3: Client) -> Any:
    return s3.get_paginator("list_objects_v2").paginate(Bucket="full")


def test_a_full_disk(small_disk: tuple[Path, tuple[str, ...]]) -> None:
    folder, prefix = small_disk
    config = Config(retries={"max_attempts": 0})
    with Server(folder.parent / "log-of-first", prefix=prefix) as _:
        pass  # the programs can be started there at all
    server = Server(folder / "data", prefix=prefix)
    server.log = folder.parent / "server.log"
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        s3 = new_client(server.endpoint, "s3", ACCOUNT, config=config)
        s3.create_bucket(Bucket="full")
        kept = fill(s3, "large", 3 * MIB, 20)
        kept |= fill(s3, "middle", 40_000, 1000)
        kept |= fill(s3, "small", 8_000, 5000)
        upload = None
        with contextlib.suppress(ClientError):
            upload = s3.create_multipart_upload(Bucket="full", Key="parts")["UploadId"]
        if upload is not None:
            with pytest.raises(ClientError) as caught:
                s3.upload_part(Bucket="full", Key="parts", UploadId=upload, PartNumber=1, Body=bytes(5 * MIB))
            assert caught.value.response["Error"]["Code"] == "SlowDown"
        check(s3, kept)
        # What is deleted makes room, sooner or later; what was refused is not half gone.
        for key in [key for key in kept if key.startswith("large")][:2]:
            s3.delete_object(Bucket="full", Key=key)
            del kept[key]
        assert attempt(s3, "again", b"x" * MIB)
        kept["again"] = b"x" * MIB
        check(s3, kept)
        server.kill()
        server.start_again()
        check(s3, kept)
    # What others fill to the brim, the server cannot even begin on, and says so.
    subprocess.run([*prefix, "dd", "if=/dev/zero", f"of={folder}/ballast", "bs=4k"], capture_output=True)
    server.log.write_text("")
    with pytest.raises(AssertionError, match="cannot use the data folder .*: No space left on device"):
        server.start_again()
    assert "Traceback" not in server.log.read_text()


def test_broken_files(tmp_path: Path) -> None:
    """What stands in place of a blob is not followed, not waited for, and not taken for it."""
    data = tmp_path / "data"
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 10_000)
    with Server(data) as server:
        s3 = new_client(server.endpoint, "s3", ACCOUNT)
        s3.create_bucket(Bucket="broken")
        for how in ("link", "folder", "pipe", "gone", "cut", "empty"):
            s3.put_object(Bucket="broken", Key=how, Body=b"content!" * 10_000)
            (file,) = (path for path in (data / "objects").glob("[0-9a-f][0-9a-f]/*") if path.stat().st_size > 70_000)
            if how in ("cut", "empty"):
                os.truncate(file, 40_000 if how == "cut" else 0)
            else:
                file.unlink()
            if how == "link":
                file.symlink_to(secret)
            elif how == "folder":
                file.mkdir()
            elif how == "pipe":
                os.mkfifo(file)
            body, status = _get(s3, how)
            assert body is None and status in (500, 200), how
            assert status == 500, how  # whatever is wrong with the file as a whole is known before the first byte
            assert s3.head_object(Bucket="broken", Key=how)["ContentLength"] == 80_000
            with contextlib.suppress(FileNotFoundError):
                file.rmdir() if how == "folder" else file.unlink()
            s3.delete_object(Bucket="broken", Key=how)
        assert requests.get(server.endpoint + "/_nephele/health", timeout=60).status_code == 200
        assert "failed [nephele.endpoint]" not in server.log.read_text()  # nothing of it was unforeseen


def test_bytes_that_changed_end_the_answer_early(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data) as server:
        s3 = new_client(server.endpoint, "s3", ACCOUNT)
        s3.create_bucket(Bucket="broken")
        s3.put_object(Bucket="broken", Key="k", Body=b"content!" * 100_000)
        (file,) = (path for path in (data / "objects").glob("[0-9a-f][0-9a-f]/*") if path.stat().st_size > 70_000)
        content = bytearray(file.read_bytes())
        content[500_000] ^= 1
        file.write_bytes(content)
        assert _get(s3, "k")[0] is None
        log = until(server.log.read_text, lambda text: "is not what was written" in text)
        assert log.count("Traceback") == 1


def _get(s3: Client, key: str) -> tuple[bytes | None, int]:
    """The whole content, or None where it did not come; the status."""
    try:
        answer = s3.get_object(Bucket="broken", Key=key)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InternalError"
        return None, error.response["ResponseMetadata"]["HTTPStatusCode"]
    try:
        return answer["Body"].read(), 200
    except BotoCoreError:
        return None, 200


KEYS = [
    b"a/../b", b"../b", b"..", b"a/..", b"./a", b"a//b", b"/a", b"a%2Fb", b"a%2fb", b"%2e%2e/b", b"a%00b", b"%C0%AF",
    b"%c0%ae%c0%ae/b", b"%ED%A0%80", b"%FF", b"a%0Ab", b"a%0D%0Ab", b"%F0%9F%98%80", b"a%25b", b"a+b", b"a%20b", b"%7F",
    b"a;b", b"%2525", b"con", b"x" * 1024, b"x" * 1025, b"%C3%A4" * 512, b"%C3%A4" * 513, b"a%", b"a%g1",
]  # fmt: skip


def test_odd_keys_are_kept_as_they_are_or_refused(tmp_path: Path) -> None:
    """Nothing of a key is resolved, nothing reaches the file system; what S3 does not take gets a 400."""
    from urllib.parse import unquote_to_bytes

    from tests.compat.test_s3_streams import Signed
    from tests.peer import peer

    data = tmp_path / "data"
    with Server(data) as server:
        s3 = new_client(server.endpoint, "s3", ACCOUNT)
        s3.create_bucket(Bucket="odd-keys")
        body = b"odd" * 10_000
        for key in KEYS:
            path = f"/odd-keys/{key.decode()}"
            with peer(server) as client:
                request = Signed(server, ACCOUNT, "PUT", path, "UNSIGNED-PAYLOAD")
                client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                status, _, _ = client.answer()
            assert status in (200, 400, 403), (key, status)
            meant = unquote_to_bytes(key)
            listed = [one["Key"].encode() for one in s3.list_objects_v2(Bucket="odd-keys").get("Contents", ())]
            assert listed == ([meant] if status == 200 else []), key
            if status == 200:
                assert s3.get_object(Bucket="odd-keys", Key=meant.decode())["Body"].read() == body
                s3.delete_object(Bucket="odd-keys", Key=meant.decode())
        outside = {path.name for path in tmp_path.iterdir()}
        assert outside == {"data", "data.log"}
