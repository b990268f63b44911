"""qemu-img, as it may be trusted: formats always named, no shell, bounded in memory and time, no file but the named.

What an image file says of itself is its maker's word. A header that names another file (a backing file, a data file,
the extent of a descriptor) would have us read that file with our rights, so such images are refused before anything is
copied out of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backends.errors import DriverError, Exhausted, Missing, Unsupported

FORMATS = ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc")
"""What is read and written; `vpc` is the older VHD."""

LARGEST = 64 << 40
"""Bytes: no image claims to be larger."""

MEMORY = 2 << 30
"""Bytes of address space that one qemu-img may take: it needs about 200 MiB."""

LOOK = 30
"""Seconds within which a header is read; a made-up one can ask for far longer."""
STUDY = 300
"""Seconds within which all tables of an image are read."""

_PERCENT = re.compile(rb"\(\s*(\d+)\.\d+/100%\)")
_MAGIC: dict[str, bytes] = {"qcow2": b"QFI\xfb", "vmdk": b"KDMV", "vhdx": b"vhdxfile"}
_CHECKED = ("qcow2", "vmdk", "vdi", "vhdx")
_LEAKS, _UNCHECKED = 3, 63
"""What `qemu-img check` ends with when nothing is lost, and when it knows no check."""


def present() -> bool:
    """Whether this machine has qemu-img."""
    return shutil.which("qemu-img") is not None


def inspect(path: Path, format: str) -> int:
    """The size in bytes that the image shows, after every check that makes it safe to read.

    Raises `Unsupported` (fact: reason) for one that is not of this format, that leans on another file, or that is not
    whole: QEMU reads zeros where a file that was cut off has no bytes any more.
    """
    if format not in FORMATS:
        raise _refused(f"there is no format {format!r} here; there are {', '.join(FORMATS)}")
    _check_head(path, format)
    with _private_folder() as folder:
        text = _run(["info", "--output=json", "-f", format, str(path.absolute())], folder, LOOK)
    about: dict[str, Any] = json.loads(text)
    for member in ("backing-filename", "full-backing-filename"):
        if about.get(member):
            raise _refused("it has a backing file")
    data: dict[str, Any] = about.get("format-specific", {}).get("data", {})
    if data.get("data-file"):
        raise _refused("its data lies in another file")
    if about.get("encrypted"):
        raise _refused("it is encrypted")
    for extent in data.get("extents", ()):
        if extent.get("filename") != str(path.absolute()):
            raise _refused("its data lies in another file")
    size = int(about["virtual-size"])
    if not 0 < size <= LARGEST:
        raise _refused(f"it claims to have {size} bytes")
    _check_whole(path, format)
    return size


def _check_whole(path: Path, format: str) -> None:
    """Refuse an image whose tables contradict each other, or name bytes that the file has not."""
    if format not in _CHECKED:
        return
    with _private_folder() as folder:
        status, _, complaint = _end(["check", "-q", "-f", format, str(path.absolute())], folder, STUDY)
    if status not in (0, _LEAKS, _UNCHECKED):
        raise _refused(f"it is damaged, or was cut off: {complaint.splitlines()[0] if complaint else status}")
    if format == "vdi":
        with path.open("rb") as file:
            head = file.read(0x188)
        start, block, blocks = (int.from_bytes(head[at : at + 4], "little") for at in (0x158, 0x178, 0x184))
        if path.stat().st_size <= start + (blocks - 1) * block and blocks:
            raise _refused("it was cut off")


def check_room(path: Path, format: str, folder: Path) -> None:
    """Raise `Exhausted` when what an image holds has no room in `folder`: a small file can hold very much, and one that
    is found out when everything is full has taken the room of all others meanwhile. Raises `Unsupported` when that
    takes too long to be known."""
    command = ["measure", "--output=json", "-f", format, "-O", "qcow2", str(path.absolute())]
    with _private_folder() as place:
        status, text, complaint = _end(command, place, STUDY)
    if status != 0:
        raise _refused(complaint or "how much it holds cannot be told")
    needed, left = int(json.loads(text)["required"]), shutil.disk_usage(folder).free
    if needed > left:
        raise Exhausted(f"No space left: the image holds {needed} bytes, and there is room for {left}")


def _check_head(path: Path, format: str) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise Missing(f"{path} is not there", thing=str(path)) from error
    if not head.startswith(_MAGIC.get(format, b"")):
        raise _refused(f"it is no {format}")
    # A VMDK without capacity of its own is a list of other files' names.
    if format == "vmdk" and not any(head[12:20]):
        raise _refused("its data lies in another file")


def convert(
    source: Path,
    source_format: str,
    target: Path,
    target_format: str,
    *,
    report: Callable[[int], None] = lambda percent: None,
) -> None:
    """Make `target`, which needs no other file. `report` is told per cent. Raises `Exhausted`, `DriverError`."""
    command = ["convert", "-p", "-f", source_format, "-O", target_format]
    if target_format == "vmdk":
        command += ["-o", "subformat=streamOptimized"]
    _run([*command, str(source.absolute()), str(target.absolute())], target.parent, None, report)


def resize(path: Path, size: int) -> None:
    """Let a qcow2 grow to `size` bytes. Raises `Exhausted`, `DriverError`."""
    _run(["resize", "-f", "qcow2", str(path.absolute()), str(size)], path.parent, LOOK)


def rebase(path: Path, base: str | None) -> None:
    """Let a qcow2 lean on `base`, which must show the same bytes as what it leant on, or on nothing at all."""
    _run(["rebase", "-u", "-f", "qcow2", "-b", base or "", "-F", "qcow2", str(path.absolute())], path.parent, LOOK)


def _run(
    arguments: list[str], folder: Path, seconds: int | None, report: Callable[[int], None] = lambda percent: None
) -> str:
    """Run qemu-img in `folder` to its end. What it says is translated into native errors."""
    status, output, complaint = _end(arguments, folder, seconds, report)
    if status == 0:
        return output
    if "No space left" in complaint or "Disk quota exceeded" in complaint or "File too large" in complaint:
        raise Exhausted(complaint)
    if arguments[0] == "info":
        raise _refused(complaint or f"qemu-img ended with {status}")
    raise DriverError(complaint or f"qemu-img {arguments[0]} ended with {status}")


def _end(
    arguments: list[str], folder: Path, seconds: int | None, report: Callable[[int], None] = lambda percent: None
) -> tuple[int, str, str]:
    """Run qemu-img in `folder`, for so many seconds of processor time at most; its status, output and complaint."""
    program = shutil.which("qemu-img")
    if program is None:
        raise Unsupported("qemu-img is not installed: apt-get install qemu-utils", reason="qemu-img is not installed")
    bounds = ["prlimit", f"--as={MEMORY}", "--core=0", *([f"--cpu={seconds}"] if seconds is not None else []), "--"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*bounds, program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
        )
        assert process.stdout is not None
        try:
            output = _follow(process.stdout.fileno(), report)
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
        said.seek(0)
        complaint = said.read(4096).decode("utf-8", "replace").strip()
    return status, output.decode("utf-8", "replace"), complaint.removeprefix("qemu-img: ")


def _follow(descriptor: int, report: Callable[[int], None]) -> bytes:
    """Everything that is written until the end; what looks like progress is told and forgotten."""
    output, last = b"", -1
    while block := os.read(descriptor, 65536):
        output += block
        found = _PERCENT.findall(output)
        if found:
            output = output[output.rindex(b"%)") + 2 :]
            if int(found[-1]) != last:
                last = int(found[-1])
                report(min(last, 99))
    return output


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nephele-") as name:
        yield Path(name)


def _refused(reason: str) -> Unsupported:
    return Unsupported(f"the image is refused: {reason}", reason=reason)
