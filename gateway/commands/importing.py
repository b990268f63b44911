"""`nephele import`: bringing buckets in from elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.clients import Account, Config, client_environment
from gateway.settings import SettingsError, load

if TYPE_CHECKING:
    from gateway.importing import Importer, Report

app = typer.Typer(help="Bring in what lies elsewhere.", no_args_is_help=True)


@app.callback()
def about() -> None:
    """Bring in what lies elsewhere."""


@app.command("s3")
def import_s3(
    source: Annotated[str, typer.Option("--from", help="URL of the S3 endpoint, http://minio:9000 say.")],
    access_key: Annotated[str, typer.Option(envvar="SOURCE_ACCESS_KEY", help="Access key there.")],
    secret_key: Annotated[str, typer.Option(envvar="SOURCE_SECRET_KEY", help="Its secret (better in the variable).")],
    region: Annotated[str, typer.Option(help="Region there.")] = "us-east-1",
    bucket: Annotated[list[str] | None, typer.Option(help="A bucket; more by repeating.  [default: all]")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="Every version and delete marker, too.")] = False,
    settings_too: Annotated[
        bool, typer.Option("--config-too/--objects-only", help="Take bucket settings over.")
    ] = True,
    workers: Annotated[int, typer.Option(help="Objects that are copied at once.", min=1, max=64)] = 8,
    journal: Annotated[Path | None, typer.Option(help="File of what is done.  [default: in the data folder]")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="URL of the Nephele that takes them.")] = None,
    account: Account = None,
    config: Config = None,
) -> None:
    """Copy buckets from any S3 endpoint (MinIO, Ceph, Swift, AWS, …), checking every byte.

    May be broken off and begun again: it goes on, and copies what has changed meanwhile. Status 1 when something could
    not be copied.
    """
    from botocore.exceptions import ClientError

    from gateway import importing, importing_buckets
    from gateway.importing_journal import Journal

    here = client_environment(load(config=config), endpoint, account)
    origin = _client(source, access_key, secret_key, region, workers)
    mine = here["AWS_ACCESS_KEY_ID"], here["AWS_SECRET_ACCESS_KEY"]
    target = _client(here["AWS_ENDPOINT_URL"], *mine, here["AWS_DEFAULT_REGION"], workers)
    file = journal or _default_journal(load(config=config).data_dir, source, here)
    book = Journal(file)
    importer = importing.Importer(origin, target, book, versions=versions, workers=workers)
    notes: list[str] = []
    try:
        buckets = bucket or [one["Name"] for one in origin.list_buckets()["Buckets"]]
        for name in buckets:
            try:
                importing_buckets.make(origin, target, name)
                importer.report.buckets += 1
                _copy(importer, name)
                if settings_too:
                    notes += importing_buckets.take_over(origin, target, name)
            except ClientError as error:  # the others may be copied all the same
                if importing.is_away(error):
                    raise
                importer.report.failures.append(f"s3://{name}: {error}")
    except importing.FAULTS as error:
        _tell(importer.report, notes)
        raise SettingsError(f"import: {error}") from error
    finally:
        book.close()
    _tell(importer.report, notes)
    sys.exit(1 if importer.report.failures else 0)


def _tell(report: Report, notes: list[str]) -> None:
    """What came of it on standard output, what did not on standard error."""
    gone = f"{report.gone:,} were deleted meanwhile, " if report.gone else ""
    typer.echo(
        f"{report.buckets} buckets: {report.copied:,} copied ({report.bytes / 2**20:,.1f} MiB), "
        f"{report.kept:,} were there already, {gone}{len(report.failures)} failed."
    )
    for line in (*notes, *report.failures):
        typer.echo(line, err=True)


def _client(endpoint: str, key: str, secret: str, region: str, workers: int) -> Any:
    from botocore.config import Config as ClientConfig
    from botocore.session import Session

    return Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=ClientConfig(
            s3={"addressing_style": "path"},
            retries={"max_attempts": 5, "mode": "standard"},
            max_pool_connections=workers * 2 + 4,
            # Contents are checked by their MD5; other engines do not all know newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_supported",
        ),
    )


def _default_journal(folder: Path, source: str, here: dict[str, str]) -> Path:
    """One for each pair of source and target."""
    pair = f"{source.rstrip('/')} {here['AWS_ENDPOINT_URL']} {here['AWS_ACCESS_KEY_ID']}"
    imports = folder / "imports"
    imports.mkdir(mode=0o700, parents=True, exist_ok=True)
    return imports / f"{hashlib.sha256(pair.encode()).hexdigest()[:16]}.db"


def _copy(importer: Importer, bucket: str) -> None:
    """Copy a bucket, with a bar where a person looks on; a second listing tells it how much there is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gateway.importing import FAULTS

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[read]}"))
    watched = sys.stderr.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not watched) as bar:
        task = bar.add_task(bucket, total=None, read="")

        def count() -> None:
            with contextlib.suppress(*FAULTS):  # whatever it is, the copying tells
                bar.update(task, total=importer.count(bucket))

        if watched:
            threading.Thread(target=count, daemon=True).start()
        report = importer.report
        before = report.settled
        for _ in importer.copy(bucket):
            bar.update(task, completed=report.settled - before, read=f"{report.bytes / 2**20:,.0f} MiB")
        bar.update(task, completed=report.settled - before)
