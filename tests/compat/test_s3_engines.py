"""The driver that keeps blobs in an engine which speaks S3: its contract, over Nephele itself and over Swift, and
several gateways on one store."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from backends.errors import DriverError, Exhausted, Missing
from backends.object.drivers.s3 import S3Blobs
from tests import swift
from tests.compat.conftest import new_client
from tests.server import Server
from tests.unit.blob_contract import NAME, BlobContract, keep
from tests.unit.object_worlds import World, multipart

Engine = tuple[str, str, str]
"""Endpoint, access key, secret."""


@pytest.fixture(scope="module", params=["nephele", "swift"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if request.param == "nephele":
        with Server(tmp_path_factory.mktemp("engine") / "data", "--ephemeral") as server:
            yield server.endpoint, "test", "test"
        return
    if reason := swift.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("swift")
    try:
        with swift.swift(folder) as endpoint:
            yield endpoint, swift.ACCESS, swift.SECRET
    except OSError as error:
        pytest.skip(f"Swift needs a file system with extended attributes: {error}")


def client(engine: Engine) -> Any:
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    endpoint, key, secret = engine
    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, config=config)


@pytest.fixture
def driver(engine: Engine) -> Iterator[S3Blobs]:
    bucket = f"blobs-{secrets.token_hex(4)}"
    client(engine).create_bucket(Bucket=bucket)
    driver = S3Blobs(engine[0], bucket, access_key=engine[1], secret_key=engine[2], prefix="store/")
    yield driver
    driver.close()


class TestEngines(BlobContract):
    """The contract over engines."""

    def test_what_was_being_sent_is_seen_by_nobody(self, engine: Engine, driver: S3Blobs) -> None:
        writer = driver.create(NAME)
        writer.write(bytes(20 << 20))
        assert list(driver.names()) == []
        with pytest.raises(Missing):
            driver.open(NAME)
        writer.discard()
        assert "Uploads" not in client(engine).list_multipart_uploads(Bucket=driver.bucket)

    def test_foreign_objects_are_left_alone(self, engine: Engine, driver: S3Blobs) -> None:
        for key in ("other", "store/ab/short", "store/readme"):
            client(engine).put_object(Bucket=driver.bucket, Key=key, Body=b"x")
        keep(driver, NAME, b"mine")
        assert [name for name, _ in driver.names()] == [NAME]

    def test_a_store_has_one_owner(self, driver: S3Blobs) -> None:
        assert driver.claim("me") == "me"
        assert driver.claim("you") == "me"

    def test_a_store_over_it(self, driver: S3Blobs, tmp_path: Path) -> None:
        world = World(f"sqlite:///{tmp_path}/db", driver, inline=64)
        box = world.add()
        world.put(box, "k", b"1" * 100)
        world.put(box, "k", b"2" * 9_000_000)
        multipart(world, box)
        assert world.get(box, "k") == b"2" * 9_000_000
        assert world.get(box, "m") == b"p" * 100 + b"q" * 100
        assert world.used() == world.stored()
        world.delete(box, "k")
        keep(driver, "f" * 32, b"orphan")
        assert world.sweep() == 1
        assert world.used() == world.stored()
        world.store.close()
        world.database.close()


def test_an_engine_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(DriverError):
        S3Blobs("http://127.0.0.1:1", "b", access_key="k", secret_key="s")


def test_a_bucket_that_is_not_there_is_told(engine: Engine) -> None:
    with pytest.raises((Missing, DriverError, Exhausted)):
        S3Blobs(engine[0], "no-such-bucket-here", access_key=engine[1], secret_key=engine[2])


def test_gateways_that_share_a_store(engine: Engine, tmp_path: Path, postgresql: Any) -> None:
    """Two servers, each with a data folder of its own, over one database and one engine."""
    endpoint, key, secret = engine
    bucket = f"shared-{secrets.token_hex(4)}"
    client(engine).create_bucket(Bucket=bucket)
    environment = {
        "NEPHELE_OBJECTS": "s3",
        "NEPHELE_OBJECTS_ENDPOINT": endpoint,
        "NEPHELE_OBJECTS_BUCKET": bucket,
        "NEPHELE_OBJECTS_ACCESS_KEY": key,
        "NEPHELE_OBJECTS_SECRET_KEY": secret,
    }
    arguments = ("--database-url", postgresql.new_database())
    body = secrets.token_bytes(9_000_000)
    with Server(tmp_path / "one", *arguments, environment=environment) as one, contextlib.ExitStack() as stack:
        with pytest.raises(AssertionError, match="is not the key of this store"):
            Server(tmp_path / "two", *arguments, environment=environment)
        shutil.copy(tmp_path / "one" / "identity.key", tmp_path / "two" / "identity.key")
        two = stack.enter_context(Server(tmp_path / "two", *arguments, environment=environment))
        first, second = (new_client(server.endpoint, "s3", "123456789012") for server in (one, two))
        first.create_bucket(Bucket="shared")
        first.put_object(Bucket="shared", Key="k", Body=body)
        answer = second.get_object(Bucket="shared", Key="k", Range="bytes=5-8999999")
        assert answer["Body"].read() == body[5:]
        second.put_object(Bucket="shared", Key="k", Body=b"n" * 50_000)
        assert first.get_object(Bucket="shared", Key="k")["Body"].read() == b"n" * 50_000
    # Another database must not take the store over: its sweeper would remove all of it.
    with pytest.raises(AssertionError, match="store of another database"):
        Server(tmp_path / "three", environment=environment)
