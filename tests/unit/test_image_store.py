"""Images on a machine: each content is kept once, for as long as somebody leans on it, and never made twice."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.errors import DriverError, Unsupported
from backends.image import micro, qemu_img
from backends.image.micro import packages
from backends.image.micro.packages import Packages
from backends.volume.drivers import qcow2_folders as folders
from backends.volume.drivers.base import DiskSpec
from backends.volume.drivers.qcow2 import Qcow2Disks

MIB = 1 << 20
needs_qemu_img = pytest.mark.skipif(not qemu_img.present(), reason="lacks qemu-img")


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    path.write_bytes(b"image".ljust(MIB, b"\1"))
    return path


def layers(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "layers"))


@needs_qemu_img
def test_a_kill_at_any_step_of_an_import_leaves_one_image_and_then_none(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 10**9
    for name in ("link", "replace", "symlink", "fsync", "mkdir", "unlink"):
        real = getattr(os, name)

        def counted(*args: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*args, **more)

        monkeypatch.setattr(os, name, counted)
    for nth in range(1, 100):
        folder = tmp_path / str(nth)
        killed = False
        for snapshot in ("snap-1", "snap-2"):
            driver = Qcow2Disks(folder)
            left = nth
            try:
                driver.import_file(snapshot, image, "raw")
            except Killed:
                killed, left = True, 10**9
                driver = Qcow2Disks(folder)
                driver.import_file(snapshot, image, "raw")
            left = 10**9
        driver.tidy()
        assert len(layers(folder)) == 1
        assert driver.read("snap-2", 0, MIB) == driver.read("snap-1", 0, MIB) == image.read_bytes()
        for snapshot in ("snap-1", "snap-2"):
            driver.drop_snapshot(snapshot)
        driver.tidy()
        assert layers(folder) == []
        if not killed:
            return
    raise AssertionError("an import has no end")


@needs_qemu_img
def test_an_image_that_is_forgotten_while_it_is_imported_again_is_kept(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "volumes"
    driver = Qcow2Disks(folder)
    driver.import_file("snap-1", image, "raw")
    driver.drop_snapshot("snap-1")
    share = folders.share

    def late(source: Path, names: list[str], target: Path) -> None:
        driver.tidy()  # nobody leans on it at this moment
        monkeypatch.setattr(folders, "share", share)
        share(source, names, target)

    monkeypatch.setattr(folders, "share", late)
    driver.import_file("snap-2", image, "raw")
    assert driver.read("snap-2", 0, 5) == b"image"
    driver.tidy()
    assert len(layers(folder)) == 1


@needs_qemu_img
def test_a_disk_of_an_image_copies_nothing_of_it(tmp_path: Path) -> None:
    """What is imported is on the machine: a guest that starts from it waits for no byte."""
    path = tmp_path / "large.raw"
    path.write_bytes(os.urandom(8 * MIB))
    driver = Qcow2Disks(tmp_path / "volumes")
    driver.import_file("snap-1", path, "raw")

    def used() -> int:
        found = {one.stat().st_ino: one.stat().st_blocks for one in (tmp_path / "volumes").rglob("*") if one.is_file()}
        return sum(found.values()) * 512

    before = used()
    for number in range(4):
        driver.ensure_disk(DiskSpec(f"vol-{number}", 8 * MIB, "snap-1"))
    assert used() - before < 2 * MIB


# --- the micro image is made once, of packages that are fetched once --------------------------------------------------


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What apt offers, by file name; what it was asked to bring stands under ""."""
    offered = {f"{name}_1_amd64.deb": name.encode() for name in ("linux-image-6", *packages.GUEST, *packages.TOOLS)}
    offered[""] = b""

    def run(command: list[str], folder: Path | None = None) -> str:
        if command[0] == "dpkg":
            return "amd64\n"
        if command[0] == "apt-cache":
            return "  Depends: linux-image-6\n"
        if "--print-uris" in command:
            return "".join(
                f"'http://apt/{file}' {file} {len(data)} SHA256:{hashlib.sha256(data).hexdigest()}\n"
                for file, data in offered.items()
                if file
            )
        assert command[:2] == ["apt-get", "download"] and folder is not None
        for name in command[3:]:
            file = next(file for file in offered if file.startswith(f"{name}_"))
            (folder / file).write_bytes(offered[file])
            offered[""] += f"{name} ".encode()
        return ""

    monkeypatch.setattr(packages, "_run", run)
    monkeypatch.setattr(shutil, "which", lambda program: program)
    yield offered


def brought(archive: dict[str, bytes]) -> list[str]:
    """What apt was asked to bring since it was asked this last."""
    found, archive[""] = archive[""].decode().split(), b""
    return found


def test_packages_are_fetched_once_and_older_ones_go(tmp_path: Path, archive: dict[str, bytes]) -> None:
    first = Packages.wanted(tmp_path)
    assert sorted(brought(archive)) == sorted(name.partition("_")[0] for name in first.names)
    assert Packages.wanted(tmp_path) == first
    assert brought(archive) == []
    name = first.names[1].partition("_")[0]
    del archive[first.names[1]]
    archive[f"{name}_2_amd64.deb"] = b"newer"
    second = Packages.wanted(tmp_path)
    assert brought(archive) == [name]
    assert first.names[1] not in os.listdir(second.folder)


def test_a_package_that_rotted_is_fetched_again_and_a_wrong_one_refused(
    tmp_path: Path, archive: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Packages.wanted(tmp_path)
    brought(archive)
    (found.folder / found.names[0]).write_bytes(b"rot")
    Packages.wanted(tmp_path)
    assert brought(archive) == ["linux-image-6"]
    (found.folder / found.names[0]).write_bytes(b"rot")
    run = packages._run
    monkeypatch.setattr(packages, "_run", lambda command, *more: "" if "--quiet" in command else run(command, *more))
    with pytest.raises(DriverError, match="right sum"):
        Packages.wanted(tmp_path)


def test_the_micro_image_is_made_once_for_the_same_packages(
    tmp_path: Path, archive: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def unpack(self: Packages, folder: Path) -> Path:
        (folder / "boot").mkdir(parents=True)
        (folder / "boot/vmlinuz-6").write_bytes(b"kernel")
        return folder

    def make(draft: Path, *parts: object) -> None:
        made.append(draft.name)
        draft.write_bytes(b"")

    monkeypatch.setattr(Packages, "unpack", unpack)
    monkeypatch.setattr(micro, "make_root", lambda unpacked, guest, target: make(target))
    monkeypatch.setattr(micro, "make_disk", make)
    first = micro.build(tmp_path)
    assert made == ["root.cpio.gz", "disk.raw"]
    assert micro.build(tmp_path) == first
    assert len(made) == 2
    archive["linux-image-6_2_amd64.deb"] = archive.pop("linux-image-6_1_amd64.deb") + b" of another sum"
    assert micro.build(tmp_path).disk.parent != first.disk.parent
    assert len(made) == 4


def test_a_micro_image_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, archive: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Packages, "unpack", lambda self, folder: folder)
    with pytest.raises(Unsupported, match="kernel"):
        micro.build(tmp_path)
    assert [name for name in os.listdir(tmp_path) if "micro" in name] == []
