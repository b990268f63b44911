"""`nephele audit` and `nephele sweep`: looking after the bytes of objects, beside a running server or without one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from gateway.clients import Config
from gateway.settings import load

Data = Annotated[Path | None, typer.Option("--data-dir", help="Folder of all state.", file_okay=False)]


def audit(
    data_dir: Data = None,
    config: Config = None,
    rate: Annotated[float | None, typer.Option(help="MiB to read a second at most.  [default: all it can]")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Begin anew, though a round was broken off.")] = False,
) -> None:
    """Read every stored byte of objects again, and set aside what has changed. Goes on where it was broken off.

    Status 1 when something is damaged. A server may run meanwhile.
    """
    from gateway.storage import existing

    with existing(load({"data_dir": data_dir} if data_dir else {}, config)) as store:
        auditor = store.auditor()
        steps = _at_most(auditor.round(anew=anew), rate * (1 << 20)) if rate else auditor.round(anew=anew)
        contents, total = auditor.totals()
        _show("audit", steps, lambda: auditor.progress.bytes, total)
        progress, damages = auditor.progress, auditor.damages()
    seconds = progress.ended - progress.began
    typer.echo(
        f"{progress.contents:,} of {contents:,} contents, {progress.bytes / 2**20:,.1f} MiB read in {seconds:.1f} s: "
        f"{progress.damaged} damaged, {progress.healed} sound again, {len(progress.unread)} could not be read, "
        f"{progress.recorded} had no checksum and have one now."
    )
    for line in progress.unread:
        typer.echo(f"not read: {line}", err=True)
    for damage in damages:
        version = f" (version {damage.version})" if damage.version else ""
        typer.echo(f"damaged: s3://{damage.container}/{damage.key}{version}: {damage.reason}", err=True)
    sys.exit(1 if damages or progress.unread or progress.damaged else 0)


def sweep(
    data_dir: Data = None,
    config: Config = None,
    grace: Annotated[float, typer.Option(help="Seconds for which a file may belong to a server.", min=60)] = 900.0,
) -> None:
    """Remove bytes that no object is made of: what killed processes left. Servers do so by themselves, too."""
    from gateway.storage import existing

    with existing(load({"data_dir": data_dir} if data_dir else {}, config)) as store:
        sweeper = store.sweeper(grace)

        def steps() -> Iterator[int]:
            while sweeper.step():
                yield 0

        _show("sweep", steps(), lambda: int(sweeper.fraction * 1000), 1000)
    typer.echo(f"{sweeper.seen:,} files seen, {sweeper.removed:,} removed.")


def _at_most(steps: Iterator[int], rate: float) -> Iterator[int]:
    """The same steps, so many bytes a second."""
    began, read = time.monotonic(), 0
    for step in steps:
        read += step
        yield step
        time.sleep(max(began + read / rate - time.monotonic(), 0))


def _show(name: str, steps: Iterator[int], done: Callable[[], int], total: int) -> None:
    """Go through the steps, with a bar where a person looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=total)
        for _ in steps:
            bar.update(task, completed=done())
        bar.update(task, completed=total)
