"""Tasks that import and export disk images, driven step by step: cancelled, failing, tried again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backends import schema
from backends.errors import DriverError, Exhausted, NativeError
from backends.object.versions import Description
from backends.volume.host import PATIENCE
from backends.volume.models import Snapshot
from compat.context import Call
from compat.dispatch import invoke
from compat.ec2.transfers import Transfers
from compat.errors import AWSError
from compat.iam.principal import root
from gateway import settings
from gateway.compose import compose
from gateway.parts import Parts

ACCOUNT = "111111111111"
DISK = b"disk" * 16384


class World:
    """A cloud whose background stands still."""

    def __init__(self, folder: Path) -> None:
        self.parts: Parts = compose(settings.load({"data_dir": folder, "auth": "off"}))
        schema.prepare(self.parts.cloud.database)
        self.folder = folder / "transfers"
        self.transfers = Transfers(self.parts.cloud, self.folder)
        self.driver = self.parts.volumes.driver
        self.call("s3", "CreateBucket", Bucket="images")
        self.put("disk.raw", DISK)

    def put(self, key: str, data: bytes) -> None:
        objects = self.parts.cloud.hosts["objects"]
        container = self.parts.cloud.hosts["containers"].find("images").number
        about = Description(modified=1, etag="0" * 32, size=len(data))
        objects.publish(container, key, about, objects.receive([data]))

    def call(self, service: str, name: str, **p: Any) -> dict[str, Any]:
        call = Call(service, name, p, root(ACCOUNT), "us-east-1", secrets.token_hex(4))
        return invoke(self.parts.dispatcher, call).result or {}

    def begin(self) -> str:
        container = {"Format": "RAW", "UserBucket": {"S3Bucket": "images", "S3Key": "disk.raw"}}
        id: str = self.call("ec2", "ImportSnapshot", DiskContainer=container)["ImportTaskId"]
        return id

    def task(self, id: str) -> dict[str, Any]:
        (found,) = self.call("ec2", "DescribeImportSnapshotTasks", ImportTaskIds=[id])["ImportSnapshotTasks"]
        return dict(found["SnapshotTaskDetail"])

    def snapshots(self) -> list[str]:
        with self.parts.cloud.database.unit(None, write=False) as unit:
            return list(unit.session.scalars(select(Snapshot.id)))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.parts.close()


def test_a_task_that_waits_is_cancelled(world: World) -> None:
    id = world.begin()
    answer = world.call("ec2", "CancelImportTask", ImportTaskId=id, CancelReason="changed my mind")
    assert answer == {"ImportTaskId": id, "PreviousState": "active", "State": "deleting"}
    assert world.task(id)["Status"] == "deleting"
    again = world.call("ec2", "CancelImportTask", ImportTaskId=id)
    assert again["PreviousState"] == "deleting"
    assert world.transfers.step() is False
    task = world.task(id)
    assert (task["Status"], "SnapshotId" in task) == ("deleted", False) and world.snapshots() == []
    with pytest.raises(AWSError, match="cannot be cancelled"):
        world.call("ec2", "CancelImportTask", ImportTaskId=id)


def test_a_task_that_is_being_done_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion is stopped at its next sign of life, and what it made is dropped."""
    id = world.begin()
    monkeypatch.setattr("compat.ec2.transfers.PAUSE", 0.0)

    def convert(snapshot: str, path: Path, format: str, report: Callable[[str, int], None]) -> int:
        assert world.snapshots() == [snapshot] and path.read_bytes() == DISK
        report(snapshot, 40)
        assert world.task(id)["Progress"] == "70" and world.task(id)["StatusMessage"] == "downloading/converting"
        world.call("ec2", "CancelImportTask", ImportTaskId=id)
        report(snapshot, 41)
        raise AssertionError("it goes on")

    monkeypatch.setattr(type(world.driver), "import_file", lambda self, *given: convert(*given))
    assert world.transfers.step() is True
    assert list(world.folder.iterdir()) == [] and world.task(id)["Status"] == "deleting"
    assert world.transfers.step() is False
    assert world.task(id)["Status"] == "deleted" and world.snapshots() == []


def fail_at(world: World, monkeypatch: pytest.MonkeyPatch, fault: NativeError, times: int) -> list[str]:
    """Have the driver fail so many times, then work; the snapshots it was asked for."""
    real, asked = type(world.driver).import_file, []

    def fail(self: Any, snapshot: str, *rest: Any) -> int:
        asked.append(snapshot)
        if len(asked) <= times:
            raise fault
        return real(self, snapshot, *rest)

    monkeypatch.setattr(type(world.driver), "import_file", fail)
    return asked


def test_what_may_pass_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = world.begin()
    asked = fail_at(world, monkeypatch, DriverError("not now"), PATIENCE - 1)
    while world.transfers.step():
        assert world.task(id)["Status"] == "active"
    assert world.task(id)["Status"] == "completed" and world.snapshots() == [asked[0]] and len(set(asked)) == 1
    assert world.driver.read(asked[0], 0, len(DISK)) == DISK


@pytest.mark.parametrize(
    ("fault", "tries", "words"), [(DriverError("broken"), PATIENCE, "broken"), (Exhausted("full"), 1, "no space left")]
)
def test_what_does_not_pass_ends_the_task(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: NativeError, tries: int, words: str
) -> None:
    id = world.begin()
    asked = fail_at(world, monkeypatch, fault, 1000)
    while world.transfers.step():
        pass
    task = world.task(id)
    assert (task["Status"], len(asked)) == ("deleted", tries) and world.snapshots() == []
    assert task["StatusMessage"].startswith("ServerError: ") and words in task["StatusMessage"]


def test_an_object_that_goes_before_it_is_read(world: World) -> None:
    id = world.begin()
    world.call("s3", "DeleteObject", Bucket="images", Key="disk.raw")
    assert world.transfers.step() is False
    task = world.task(id)
    assert task["Status"] == "deleted" and task["StatusMessage"] == "ClientError: The specified key does not exist."


def test_after_a_kill_the_same_snapshot_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill leaves a row, perhaps bytes, and a file on its way; another process begins the disk anew."""
    id = world.begin()

    class Killed(BaseException):
        pass

    def kill(self: Any, *given: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(world.driver), "import_file", kill)
        world.transfers.step()
    (snapshot,) = world.snapshots()
    (world.folder / "relic").write_bytes(b"half")
    assert Transfers(world.parts.cloud, world.folder).step() is False
    assert world.task(id)["SnapshotId"] == snapshot and world.snapshots() == [snapshot]
    assert list(world.folder.iterdir()) == []
