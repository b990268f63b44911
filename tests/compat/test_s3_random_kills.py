"""Servers are killed at random moments while owners write, copy and delete: what was acknowledged is there with its
bytes, the rest happened as a whole or not at all, and nothing is left over.

`SEED=7 KILLS=20 python -m pytest -m on_demand tests/compat/test_s3_random_kills.py` does it at length."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.object.drivers import s3 as s3_driver
from gateway.settings import Settings, load
from gateway.storage import existing
from tests import postgres
from tests.compat.conftest import new_client
from tests.compat.s3_owners import COUNTER, KEPT, PLAIN, Owner, prepare
from tests.server import Server

ACCOUNT = "123456789012"
SEED = int(os.environ.get("SEED", "5"))
KILLS = int(os.environ.get("KILLS", "12"))
OWNERS = 3
DAY = {"NEPHELE_LIFECYCLE_DAY": "2"}
Client = Any


def until(true: Callable[[], object], what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def clients(*servers: Server) -> list[Client]:
    return [new_client(server.endpoint, "s3", ACCOUNT) for server in servers]


def started(*servers: Server) -> list[Owner]:
    """The buckets, and owners that have not begun."""
    prepare(clients(servers[0])[0])
    return [Owner(f"o{number}", clients(*servers), SEED * 100 + number) for number in range(OWNERS)]


def work_and_kill(owners: list[Owner], dice: random.Random, kill: Callable[[], None], *, pause: bool = True) -> None:
    """Let them do some things, then kill something; with `pause` they end then."""
    for owner in owners:
        owner.start()
    enough = sum(len(owner.done) for owner in owners) + dice.randint(5, 60)
    try:
        until(
            lambda: sum(len(owner.done) for owner in owners) >= enough or any(owner.faults for owner in owners),
            lambda: "nothing is done any more",
        )
        time.sleep(dice.random() * 0.03)
        kill()
    finally:
        for owner in owners:
            owner.stop()


def settled(owners: list[Owner], s3: Client, killed: object) -> None:
    """All is as the owners know it."""
    for owner in owners:
        owner.check(s3)
    assert [owner.faults for owner in owners] == [[]] * len(owners), (SEED, killed)
    counted = int(s3.get_object(Bucket=PLAIN, Key=COUNTER)["Body"].read())
    sure, perhaps = (sum(getattr(owner, name) for owner in owners) for name in ("counted", "perhaps"))
    assert sure <= counted <= sure + perhaps, (SEED, killed)


def ended(owners: list[Owner], s3: Client, settings: Settings, stop: Callable[[], object]) -> None:
    """What was to expire does; every byte is sound; and once all is deleted, no byte is left."""
    brief = {"Bucket": PLAIN, "Prefix": "brief/"}
    until(lambda: not s3.list_objects_v2(**brief)["KeyCount"], lambda: s3.list_objects_v2(**brief)["Contents"])
    for upload in s3.list_multipart_uploads(Bucket=PLAIN).get("Uploads", ()):
        s3.abort_multipart_upload(Bucket=PLAIN, Key=upload["Key"], UploadId=upload["UploadId"])
    with existing(settings) as store:
        auditor = store.auditor()
        list(auditor.round())
        assert (auditor.damages(), auditor.progress.unread) == ([], [])
    for bucket in (PLAIN, KEPT):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            doomed = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            if doomed:
                assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
        s3.delete_bucket(Bucket=bucket)
    stop()
    with existing(settings) as store:
        while (sweeper := store.sweeper(0)).step():
            pass
        assert list(store.driver.names()) == [] and store.auditor().totals() == (0, 0), sweeper.removed
        if isinstance(store.driver, s3_driver.S3Blobs):
            store.driver.tidy()
            driver = store.driver
            assert "Uploads" not in driver.client.list_multipart_uploads(Bucket=driver.bucket)


def kill_some_of(server: Server, dice: random.Random) -> str:
    """The server, or one of its workers."""
    children = [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]
    if children and dice.random() < 0.5:
        os.kill(dice.choice(children), signal.SIGKILL)
        return "worker"
    server.kill()
    server.start_again()
    return "server"


def run(folder: Path, kills: int, *arguments: str) -> None:
    dice, killed = random.Random(SEED), list[str]()
    with Server(folder / "data", *arguments, environment=DAY) as server:
        owners = started(server)
        for _ in range(kills):
            work_and_kill(owners, dice, lambda: killed.append(kill_some_of(server, dice)))
            settled(owners, clients(server)[0], killed)
        ended(owners, clients(server)[0], load({"data_dir": folder / "data"}), server.stop)


@pytest.mark.embedded
def test_some_kills(tmp_path: Path) -> None:
    run(tmp_path, 2)


@pytest.mark.on_demand
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 3])
def test_many_kills(tmp_path: Path, workers: int) -> None:
    run(tmp_path, KILLS, "--workers", str(workers))


@pytest.mark.on_demand
@pytest.mark.timeout(3600)
def test_gateways_that_share_a_store(
    tmp_path: Path, postgresql: postgres.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is killed and comes back while the owners go on over the other."""
    monkeypatch.setattr(s3_driver, "ABANDONED", -60)
    dice = random.Random(SEED)
    with Server(tmp_path / "engine", "--ephemeral") as engine:
        new_client(engine.endpoint, "s3", "test").create_bucket(Bucket="blobs")
        settings = {
            "objects": "s3",
            "objects_endpoint": engine.endpoint,
            "objects_bucket": "blobs",
            "objects_access_key": "test",
            "objects_secret_key": "test",
            "database_url": postgresql.new_database(),
        }
        environment = DAY | {f"NEPHELE_{name.upper()}": value for name, value in settings.items()}
        with Server(tmp_path / "one", environment=environment) as one:
            (tmp_path / "two").mkdir()
            shutil.copy(tmp_path / "one" / "identity.key", tmp_path / "two" / "identity.key")
            with Server(tmp_path / "two", environment=environment) as two:
                owners = started(one, two)
                killed = []
                for _ in range(KILLS):
                    victim = dice.choice((one, two))
                    work_and_kill(owners, dice, victim.kill)
                    killed.append(victim.data.name)
                    work_and_kill(owners, dice, victim.start_again)
                    settled(owners, clients(dice.choice((one, two)))[0], killed)
                last = load(settings | {"data_dir": tmp_path / "one"})
                ended(owners, clients(two)[0], last, lambda: (one.stop(), two.stop()))
