"""Image files: what is read out of them, what is refused, and the archive that the micro guest is made of."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from backends.errors import Missing, Unsupported
from backends.image import files, qemu_img
from backends.image.micro import disk, root

MIB = 1 << 20
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def ova(path: Path, disks: dict[str, bytes], extra: str = "") -> Path:
    references = "".join(f'<File ovf:id="f-{name}" ovf:href="{name}"/>' for name in disks)
    sections = "".join(f'<Disk ovf:fileRef="f-{name}"/>' for name in disks)
    text = (
        f'{extra}<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        f'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>{references}</References>'
        f"<DiskSection>{sections}</DiskSection></Envelope>"
    )
    with tarfile.open(path, "w") as archive:
        for name, data in {"box.ovf": text.encode(), **disks}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_formats_come_from_names_and_never_from_bytes() -> None:
    assert files.format_of("disk.QCOW2") == "qcow2"
    assert files.format_of("disk.vhd") == "vpc"
    assert files.format_of("disk.img") is None


def test_the_only_disk_of_an_ova_is_taken_out(tmp_path: Path) -> None:
    with files.disk_in(ova(tmp_path / "a.ova", {"one.vmdk": b"KDMV..."}), "ova", tmp_path) as (path, format):
        assert (path.read_bytes(), format) == (b"KDMV...", "vmdk")
    assert os.listdir(tmp_path) == ["a.ova"]


@pytest.mark.parametrize("case", ["two", "entity", "none", "noise"])
def test_odd_ovas_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.ova"
    if case == "two":
        ova(path, {"one.vmdk": b"1", "two.vmdk": b"2"})
    elif case == "entity":
        ova(path, {"one.vmdk": b"1"}, '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>')
    elif case == "none":
        ova(path, {})
    else:
        path.write_bytes(b"noise" * 1000)
    with pytest.raises(Unsupported), files.disk_in(path, "ova", tmp_path):
        pass


@needs_qemu_img
@pytest.mark.parametrize("format", ["qcow2", "vmdk", "vdi", "vhdx"])
def test_every_format_shows_its_bytes(tmp_path: Path, format: str) -> None:
    raw = tmp_path / "in.raw"
    raw.write_bytes(b"\0" * MIB + b"content" + b"\0" * (3 * MIB - 7))
    qemu_img.convert(raw, "raw", tmp_path / f"x.{format}", format)
    told: list[int] = []
    with files.as_raw(tmp_path / f"x.{format}", format, told.append, tmp_path) as found:
        assert found.read_bytes() == raw.read_bytes()
        with found.open("rb") as file:
            assert 2 in list(files.data_blocks(file.fileno(), 512 * 1024))
    assert all(0 <= percent < 100 for percent in told)


@needs_qemu_img
def test_an_image_that_leans_on_another_file_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * MIB)
    for options in (
        ["-b", str(secret), "-F", "raw", str(tmp_path / "a.qcow2")],
        ["-o", f"data_file={secret}", str(tmp_path / "a.qcow2"), "1M"],
        ["-u", "-b", 'json:{"driver":"raw","file":{"driver":"file","filename":"' + str(secret) + '"}}', "-F", "raw"]
        + [str(tmp_path / "a.qcow2"), "1M"],
    ):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options], check=True)
        with pytest.raises(Unsupported):
            qemu_img.inspect(tmp_path / "a.qcow2", "qcow2")
        (tmp_path / "a.qcow2").unlink()
    descriptor = f'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "{secret}" 0\n'
    (tmp_path / "a.vmdk").write_text(descriptor)
    with pytest.raises(Unsupported):
        qemu_img.inspect(tmp_path / "a.vmdk", "vmdk")
    header = b"KDMV" + (1).to_bytes(4, "little") + bytes(12) + descriptor.encode()
    (tmp_path / "a.vmdk").write_bytes(header.ljust(MIB, b"\0"))
    with pytest.raises(Unsupported):
        qemu_img.inspect(tmp_path / "a.vmdk", "vmdk")


@needs_qemu_img
def test_files_of_another_kind_or_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"plain" * 1000)
    with pytest.raises(Unsupported):
        qemu_img.inspect(tmp_path / "a", "qcow2")
    with pytest.raises(Unsupported):
        qemu_img.inspect(tmp_path / "a", "parallels")
    with pytest.raises(Missing):
        qemu_img.inspect(tmp_path / "b", "raw")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "huge"), "65T"], check=True)
    with pytest.raises(Unsupported):
        qemu_img.inspect(tmp_path / "huge", "qcow2")


def test_the_archive_is_what_the_kernel_reads() -> None:
    buffer = io.BytesIO()
    archive = root._Archive(buffer)
    archive.add("bin/x", 0o100755, b"abc")
    archive.end()
    text = buffer.getvalue()
    assert text[:6] == b"070701"
    assert len(text) % 4 == 0
    assert text[110:116] == b"bin/x\0"
    assert text[116:119] == b"abc"
    assert b"TRAILER!!!" in text
    assert gzip.decompress(gzip.compress(text)) == text


def test_the_partition_table_covers_the_disk() -> None:
    start = disk.BOOT_START + disk.BOOT_SIZE
    table = disk._partition_table(start, disk.SIZE - start)
    assert len(table) == 512 - 440
    assert table[-2:] == b"\x55\xaa"
    assert table[6] == disk.BOOTABLE
    (first, sectors), (second, rest) = (struct.unpack("<II", table[at + 8 : at + 16]) for at in (6, 22))
    assert (first, first + sectors, second + rest) == (disk.MIB // 512, second, disk.SIZE // 512)
