"""The AWS CLI on S3, as people use it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.s3_worlds import bucket_name

Aws = Callable[..., Any]
MIBI = 1 << 20
FILES, PARTS = 1010, 25
"""One listing has a thousand keys; a part has 8 MiB."""


def age(folder: Path) -> None:
    """Make files an hour older. S3 tells when an object was written in whole seconds, so that a file written in the
    second in which it is sent looks newer than what came of it, and `sync` sends it again."""
    for path in folder.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - 3600
            os.utime(path, (then, then))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def tree_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bucket(aws: Aws) -> Iterator[str]:
    name = bucket_name()
    assert f"make_bucket: {name}" in aws("s3", "mb", f"s3://{name}").stdout
    yield name
    aws("s3", "rb", "--force", f"s3://{name}")


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tree_of_more_files_than_a_page_lists(aws: Aws, bucket: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    source, back = tmp_path / "source", tmp_path / "back"
    for number in range(FILES):
        path = source / f"d{number % 40}" / f"e {number % 7}" / f"file+{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice((0, 10, 1000, 30_000))))
    age(source)
    expected = tree_of(source)
    aws("s3", "sync", "--quiet", str(source), f"s3://{bucket}/tree")
    listed = aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}").stdout
    assert f"Total Objects: {FILES}" in listed
    aws("s3", "sync", "--quiet", f"s3://{bucket}/tree", str(back))
    assert tree_of(back) == expected
    assert aws("s3", "sync", str(source), f"s3://{bucket}/tree").stdout == ""
    folders = aws("s3", "ls", f"s3://{bucket}/tree/").stdout
    assert folders.count("PRE d") == 40
    (source / "d0" / "new").write_bytes(b"new")
    gone = next(path for path in source.rglob("*.bin"))
    gone.unlink()
    changed = aws("s3", "sync", "--delete", str(source), f"s3://{bucket}/tree").stdout
    assert sorted(re.findall(r"(upload|delete): ", changed)) == ["delete", "upload"]
    aws("s3", "rm", "--quiet", "--recursive", f"s3://{bucket}/tree")
    assert aws("s3", "ls", f"s3://{bucket}", "--recursive", check=False).stdout == ""


@pytest.mark.embedded
@pytest.mark.timeout(900)
def test_a_file_of_many_parts(aws: Aws, bucket: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    block = random.Random(9).randbytes(MIBI)
    with source.open("wb") as file:
        for number in range(PARTS * 8):
            file.write(number.to_bytes(8, "big"))
            file.write(block[8:])
    aws("s3", "cp", "--quiet", str(source), f"s3://{bucket}/big")
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "big").stdout)
    assert head["ContentLength"] == PARTS * 8 * MIBI
    assert head["ETag"].endswith(f'-{PARTS}"')
    aws("s3", "cp", "--quiet", f"s3://{bucket}/big", str(back))
    assert digest(back) == digest(source)


@pytest.mark.embedded
def test_one_file_here_and_there(aws: Aws, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("some text")
    aws("s3", "cp", str(file), f"s3://{bucket}/a/file.txt", "--metadata", "colour=blue")
    aws("s3", "cp", f"s3://{bucket}/a/file.txt", f"s3://{bucket}/b.txt")
    aws("s3", "mv", f"s3://{bucket}/b.txt", f"s3://{bucket}/c.txt")
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "c.txt").stdout)
    assert (head["ContentType"], head["Metadata"]) == ("text/plain", {"colour": "blue"})
    assert aws("s3", "cp", f"s3://{bucket}/c.txt", "-").stdout == "some text"
    url = aws("s3", "presign", f"s3://{bucket}/c.txt").stdout.strip()
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.read() == b"some text"
    aws("s3", "cp", "-", f"s3://{bucket}/stdin", stdin="piped")
    names = [line.split()[-1] for line in aws("s3", "ls", f"s3://{bucket}").stdout.splitlines()]
    assert names == ["a/", "c.txt", "stdin"]
    missing = aws("s3", "cp", f"s3://{bucket}/none", str(tmp_path / "x"), check=False)
    assert missing.returncode == 1
    assert "404" in missing.stderr
