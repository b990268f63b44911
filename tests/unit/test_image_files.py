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
from typing import Any

import pytest

from backends.errors import Exhausted, Missing, Unsupported
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


def test_the_disks_of_an_ova_are_taken_out_in_the_order_of_its_description(tmp_path: Path) -> None:
    path = ova(tmp_path / "a.ova", {"two.vmdk": b"2", "one.vmdk": b"1"})
    assert files.count_disks(path, "ova") == 2
    for number, text in enumerate((b"2", b"1")):
        with files.disk_in(path, "ova", tmp_path, number) as (found, _):
            assert found.read_bytes() == text
    with pytest.raises(Unsupported, match="2 disks"), files.as_raw(path, "ova", print, tmp_path):
        pass


DOCTYPE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ONE = '<E xmlns="a"><File id="f" href="d.vmdk"/><Disk fileRef="f"/></E>'


def member(name: str, data: bytes, **about: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in about.items():
        setattr(made, key, value)
    return made, data


def pax(**headers: str) -> tuple[tarfile.TarInfo, bytes]:
    return member("d.vmdk", b"KDMV", pax_headers={name.replace("_", "."): value for name, value in headers.items()})


HOSTILE = {
    "a document type": [member("box.ovf", (DOCTYPE + ONE).encode())],
    "one in another encoding": [
        member("box.ovf", ('<?xml version="1.0" encoding="UTF-16"?>' + DOCTYPE).encode("utf-16"))
    ],
    "an encoding that there is not": [member("box.ovf", b'<?xml version="1.0" encoding="odd"?><E/>')],
    "no end of its description": [member("box.ovf", b'<E xmlns="a">' + b"<a>" * 300000)],
    "a description that is too long": [member("box.ovf", ONE.encode() + b" " * files.ENVELOPE)],
    "two descriptions": [member("box.ovf", ONE.encode()), member("other.ovf", ONE.encode())],
    "no disk": [member("box.ovf", b"<E/>")],
    "too many disks": [member("box.ovf", ONE.replace("</E>", '<Disk fileRef="f"/>' * 21 + "</E>").encode())],
    "a disk that it has not": [member("box.ovf", ONE.replace("d.vmdk", "/etc/shadow").encode())],
    "a link": [member("box.ovf", ONE.encode()), member("d.vmdk", b"", type=tarfile.SYMTYPE, linkname="/etc/shadow")],
    "another link": [
        member("box.ovf", ONE.encode()),
        member("d.vmdk", b"", type=tarfile.LNKTYPE, linkname="/etc/shadow"),
    ],
    "holes": [member("box.ovf", ONE.encode()), pax(GNU_sparse_map="0,4", GNU_sparse_size=str(1 << 50))],
    "odd holes": [member("box.ovf", ONE.encode()), pax(GNU_sparse_map="x", GNU_sparse_size="y")],
    "holes without an end": [member("box.ovf", ONE.encode()), pax(GNU_sparse_major="1", GNU_sparse_minor="0")],
    "a member that never ends": [member("box.ovf", ONE.encode()), pax(size=str(1 << 62))],
    "a header without an end": [member("box.ovf", ONE.encode()), pax(comment="x" * 2 * files.HEADER)],
    "very many members": [member(f"m{n}", b"") for n in range(files.MEMBERS + 1)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_ova_is_refused_that_has(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.ova"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        made = HOSTILE[case]
        for about, data in made if len(made) > 1 or "holes" in case else [*made, member("d.vmdk", b"KDMV")]:
            archive.addfile(about, io.BytesIO(data))
    with pytest.raises(Unsupported), files.disk_in(path, "ova", tmp_path):
        pass
    assert os.listdir(tmp_path) == ["a.ova"]


def test_an_ova_that_is_none_or_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = ova(tmp_path / "a.ova", {"one.vmdk": b"x" * 100000})
    path.write_bytes(path.read_bytes()[:50000])
    with pytest.raises(Unsupported, match="not all"), files.disk_in(path, "ova", tmp_path):
        pass
    path.write_bytes(b"noise" * 1000)
    with pytest.raises(Unsupported), files.disk_in(path, "ova", tmp_path):
        pass
    inner = ova(tmp_path / "b.ova", {"one.vmdk": b"x"})
    ova(path, {"one.vmdk": inner.read_bytes()})
    with files.disk_in(path, "ova", tmp_path) as (disk, format), pytest.raises(Unsupported, match="no vmdk"):
        qemu_img.inspect(disk, format)


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


@needs_qemu_img
@pytest.mark.parametrize("format", ["qcow2", "vmdk", "vdi", "vhdx"])
def test_an_image_that_was_cut_off_is_refused_and_not_read_as_zeros(tmp_path: Path, format: str) -> None:
    raw, image = tmp_path / "in.raw", tmp_path / "image"
    raw.write_bytes(os.urandom(3 * MIB))
    qemu_img.convert(raw, "raw", image, format)
    assert qemu_img.inspect(image, format) == 3 * MIB
    whole = image.read_bytes()
    for length in (600, len(whole) // 4, len(whole) // 2):
        image.write_bytes(whole[:length])
        with pytest.raises(Unsupported):
            qemu_img.inspect(image, format)


@needs_qemu_img
def test_an_image_of_which_nobody_has_room_is_refused_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of half a gigabyte is the same compressed cluster."""
    raw, image = tmp_path / "in.raw", tmp_path / "image"
    raw.write_bytes(os.urandom(1000) + bytes(64536))
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(image)], check=True)
    qemu_img.check_room(image, "qcow2", tmp_path)
    bomb = bytearray(image.read_bytes())
    (table,) = struct.unpack(">Q", bomb[40:48])
    (second,) = struct.unpack(">Q", bomb[table : table + 8])
    second &= (1 << 56) - 512
    bomb[second : second + 65536] = bomb[second : second + 8] * 8192
    bomb[24:32] = struct.pack(">Q", 512 * MIB)
    image.write_bytes(bomb)
    assert image.stat().st_size < MIB
    left = shutil.disk_usage(tmp_path)._replace(free=256 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: left)
    with pytest.raises(Exhausted, match=f"there is room for {256 * MIB}"):
        qemu_img.check_room(image, "qcow2", tmp_path)


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
