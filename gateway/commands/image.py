"""`nephele image`: make the micro image, and bring image files to a server as snapshots and images.

The bytes go through EBS direct APIs, only those blocks that are not zero, so the server may be anywhere, may keep its
disks as it likes, and needs no tool for the file's format: this machine has it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer

from backends.errors import NativeError
from gateway.clients import Account, Endpoint, client, fail

app = typer.Typer(help="Images: make the micro image, import image files.", no_args_is_help=True)

BLOCK = 512 * 1024
GIB = 1 << 30
SENDERS = 4
"""Blocks that are under way together."""

Region = Annotated[str | None, typer.Option("--region", help="The region that gets the image.")]
Progress = Callable[[str, int], None]


@app.command()
def build(
    what: Annotated[str, typer.Argument(help="micro: a guest of a few megabytes, for tests and first steps.")],
    output: Annotated[Path | None, typer.Option(help="Write a file (.raw or .qcow2), and tell no server.")] = None,
    name: Annotated[str, typer.Option(help="The image's name.")] = "nephele-micro",
    endpoint: Endpoint = None,
    account: Account = None,
    region: Region = None,
) -> None:
    """Make a bootable image out of Debian's packages, without rights and without installing anything."""
    from backends.image import files, micro, qemu_img

    if what != "micro":
        fail(f"there is no recipe {what!r}; there is micro", 2)
    cache = platformdirs.user_cache_path("nephele")
    cache.mkdir(parents=True, exist_ok=True)
    with _told():
        disk = micro.build(cache).disk
        if output is not None:
            format = files.format_of(output.name)
            if format == "raw":
                shutil.copyfile(disk, output)
            elif format in qemu_img.FORMATS:
                qemu_img.convert(disk, "raw", output, format)
            else:
                fail(f"{output}: name it .raw or .qcow2", 2)
            typer.echo(str(output))
            return
    _bring(disk, "raw", name, "A tiny guest: busybox, dropbear", "x86_64", None, endpoint, account, region)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="raw, qcow2, vmdk, vdi, vhdx, vhd or ova.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="The image's name.")],
    format: Annotated[str | None, typer.Option(help="What the file is, where its name does not tell.")] = None,
    description: Annotated[str, typer.Option(help="The image's description.")] = "",
    architecture: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    boot_mode: Annotated[str | None, typer.Option(help="legacy-bios, uefi or uefi-preferred.")] = None,
    endpoint: Endpoint = None,
    account: Account = None,
    region: Region = None,
) -> None:
    """Make an image out of a file. Its format is what its name or --format says; it is never guessed from its bytes."""
    from backends.image import files

    known = format or files.format_of(file.name)
    if known not in files.FORMATS:
        fail(f"{file}: say its --format: one of {', '.join(files.FORMATS)}", 2)
    _bring(file, known, name, description, architecture, boot_mode, endpoint, account, region)


def _bring(
    file: Path,
    format: str,
    name: str,
    description: str,
    architecture: str,
    boot_mode: str | None,
    endpoint: str | None,
    account: str | None,
    region: str | None,
) -> None:
    """Send the file to the server and have it registered; print the image's id."""
    from botocore.exceptions import BotoCoreError, ClientError

    from backends.image import files

    try:
        with _told(), _progress() as progress:
            ec2, ebs = (client(service, endpoint, account, region) for service in ("ec2", "ebs"))
            owned = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
            if owned:
                fail(f"there is an image of the name {name} already: {owned[0]['ImageId']}")
            with files.as_raw(file, format, lambda percent: progress("Reading", percent)) as raw:
                snapshot = _upload(ebs, raw, f"{name}, from {file.name}", progress)
            made = ec2.register_image(
                Name=name,
                Description=description,
                Architecture=architecture,
                RootDeviceName="/dev/xvda",
                VirtualizationType="hvm",
                EnaSupport=True,
                BlockDeviceMappings=[
                    {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True}}
                ],
                **({"BootMode": boot_mode} if boot_mode else {}),
            )
    except (BotoCoreError, ClientError) as error:
        fail(str(error))
    typer.echo(made["ImageId"])


def _upload(ebs: Any, raw: Path, description: str, progress: Progress) -> str:
    """Make a snapshot out of a raw file."""
    from backends.image import files

    size = raw.stat().st_size
    begun = ebs.start_snapshot(VolumeSize=max(1, -(-size // GIB)), Description=description[:255])
    id: str = begun["SnapshotId"]
    sent = 0
    with raw.open("rb") as file, ThreadPoolExecutor(SENDERS) as pool:
        under_way: deque[Future[None]] = deque()
        for index in files.data_blocks(file.fileno(), BLOCK):
            data = os.pread(file.fileno(), BLOCK, index * BLOCK)
            if not data.strip(b"\0"):
                continue
            if len(under_way) >= 2 * SENDERS:
                under_way.popleft().result()
            under_way.append(pool.submit(_put, ebs, id, index, data.ljust(BLOCK, b"\0")))
            sent += 1
            progress("Sending", min(99, index * BLOCK * 100 // size))
        for one in under_way:
            one.result()
    ebs.complete_snapshot(SnapshotId=id, ChangedBlocksCount=sent)
    progress("Sending", 100)
    return id


def _put(ebs: Any, id: str, index: int, data: bytes) -> None:
    ebs.put_snapshot_block(
        SnapshotId=id,
        BlockIndex=index,
        BlockData=data,
        DataLength=len(data),
        Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode(),
        ChecksumAlgorithm="SHA256",
    )


class _told:
    """What the machinery says against it ends the command with that one line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NativeError):
            fail(str(error))


class _progress:
    """A bar on a terminal; nothing elsewhere."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._bars = Bars(console=console, transient=True, disable=not console.is_terminal)
        self._bars.start()
        tasks: dict[str, Any] = {}
        lock = threading.Lock()

        def tell(step: str, percent: int) -> None:
            with lock:
                if step not in tasks:
                    tasks[step] = self._bars.add_task(step, total=100)
                self._bars.update(tasks[step], completed=percent)

        return tell

    def __exit__(self, *error: object) -> None:
        self._bars.stop()
