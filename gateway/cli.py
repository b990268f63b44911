"""The command line: `nephele serve` and its companions."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from gateway import __version__
from gateway.clients import Account, Config, Endpoint, ask, client_environment, fail, fetch
from gateway.commands import audit as audit_commands
from gateway.commands import image, importing
from gateway.commands.console import console
from gateway.settings import SettingsError, StartError, load

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

app = typer.Typer(
    name="nephele",
    help="A cloud on your own machine, in the likeness of AWS.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(image.app, name="image")
app.add_typer(importing.app, name="import")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", dir_okay=False)] = None,
) -> None:
    """Tell what this machine can do for real guests and networks, what is missing, and how to mend it.

    The status is 0 when everything that is needed is there, 1 when something is not. Simulated clouds run anyway."""
    from gateway.commands.doctor import examine

    sys.exit(examine(load(config=config), as_json=as_json))


class Shape(StrEnum):
    """How a list is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


class Auth(StrEnum):
    """What policies do."""

    enforce = "enforce"
    soft = "soft"
    off = "off"


def main() -> None:
    """Run the command line. Settings that cannot be used end it with status 2."""
    try:
        app()
    except SettingsError as error:
        fail(str(error), 2)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.  [default: 4566]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all state.", file_okay=False)] = None,
    ephemeral: Annotated[
        bool | None, typer.Option("--ephemeral/--persistent", help="Forget everything at the end, or keep it.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer.  [default: 1]")] = None,
    auth: Annotated[Auth | None, typer.Option(help="What policies do.  [default: enforce]")] = None,
    engine: Annotated[
        bool | None, typer.Option("--engine/--no-engine", help="Reconcile here, or leave it to `nephele engine`.")
    ] = None,
    compute: Annotated[str | None, typer.Option(help="What runs guests.  [default: simulated]")] = None,
    volume: Annotated[str | None, typer.Option(help="What holds disks.  [default: sparse]")] = None,
    network: Annotated[str | None, typer.Option(help="What carries packets.  [default: simulated]")] = None,
    metadata_port: Annotated[int | None, typer.Option(help="Port of instance metadata on loopback.")] = None,
    objects: Annotated[str | None, typer.Option(help="What keeps objects: files or s3.  [default: files]")] = None,
    database_url: Annotated[str | None, typer.Option(help="sqlite:///… or postgresql+psycopg://…")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or off.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
    config: Config = None,
) -> None:
    """Serve until Ctrl-C. Every setting is also NEPHELE_<NAME> in the environment and a key of --config."""
    given = {name: value for name, value in locals().items() if value is not None and name != "config"}
    if engine is not None:
        given["engine"] = "inside" if engine else "apart"
    settings = load(given, config)
    from gateway.serve import run

    try:
        status = run(settings)
    except StartError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        fail(f"cannot use the data folder {settings.data_dir}: {error.strerror}")
    sys.exit(status)


@app.command(name="engine")
def run_engine(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all state.", file_okay=False)] = None,
    compute: Annotated[str | None, typer.Option(help="What runs guests.  [default: simulated]")] = None,
    volume: Annotated[str | None, typer.Option(help="What holds disks.  [default: sparse]")] = None,
    network: Annotated[str | None, typer.Option(help="What carries packets.  [default: simulated]")] = None,
    metadata_port: Annotated[int | None, typer.Option(help="Port of instance metadata on loopback.")] = None,
    database_url: Annotated[str | None, typer.Option(help="sqlite:///… or postgresql+psycopg://…")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or off.")] = None,
    rootless: Annotated[
        bool, typer.Option("--rootless", help="Work in a user and network namespace of its own, without root.")
    ] = False,
    config: Config = None,
) -> None:
    """Be the engine of servers that were started with --no-engine: reconcilers, drivers, and what serves guests."""
    given = {
        name: value for name, value in locals().items() if value is not None and name not in ("config", "rootless")
    }
    settings = load(given, config)
    from gateway import engine
    from gateway.commands.rootless import enter

    try:
        if rootless:
            enter(settings.data_dir)
        status = engine.run_engine(settings)
    except StartError as error:
        fail(str(error))
    sys.exit(status)


@app.command()
def reach(
    source: Annotated[str, typer.Argument(help="i-…, eni-… or igw-….")],
    destination: Annotated[str, typer.Argument(help="i-…, eni-…, igw-… or an IPv4 address.")],
    what: Annotated[str, typer.Argument(help="tcp/PORT or udp/PORT.")],
    endpoint: Endpoint = None,
    account: Account = None,
    region: Annotated[str | None, typer.Option(help="The region of both.")] = None,
) -> None:
    """Tell whether a packet from one to the other would pass, and which rule says so. The status is 1 when not."""
    from gateway.commands import reach as reaching

    try:
        passes, text = reaching.reach(source, destination, what, endpoint=endpoint, account=account, region=region)
    except reaching.Unclear as error:
        fail(str(error), 2)
    typer.echo(text)
    sys.exit(0 if passes else 1)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def env(endpoint: Endpoint = None, account: Account = None, config: Config = None) -> None:
    """Print exports for a shell: eval "$(nephele env)"."""
    for name, value in client_environment(load(config=config), endpoint, account).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def aws(context: typer.Context) -> None:
    """Run the AWS CLI at the endpoint: nephele aws s3 ls. Where it listens is read from the settings."""
    environment = os.environ | client_environment(load(), os.environ.get("AWS_ENDPOINT_URL"), None)
    environment.pop("AWS_PROFILE", None)
    beside = Path(sys.executable).with_name("aws")
    program = str(beside) if beside.exists() else shutil.which("aws")
    if program is None:
        fail("the AWS CLI is not installed: pip install awscli", 127)
    os.execve(program, ["aws", *context.args], environment)


@app.command()
def ca(endpoint: Endpoint = None, config: Config = None) -> None:
    """Print the certificate that clients have to trust who speak TLS: nephele ca > ca.pem; AWS_CA_BUNDLE=ca.pem …"""
    typer.echo(fetch(load(config=config), endpoint, "GET", "/_nephele/ca.pem")[1].decode(), nl=False)


@app.command()
def status(endpoint: Endpoint = None, config: Config = None) -> None:
    """Tell whether a server answers, and how it was started."""
    import rich
    from rich.table import Table

    settings = load(config=config)
    _, info = ask(settings, endpoint, "GET", "/_nephele/info")
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in info.items():
        table.add_row(name, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value))
    rich.print(table)


@app.command()
def reset(endpoint: Endpoint = None, account: Account = None, config: Config = None) -> None:
    """Throw the state of a running server away: all of it, or one account's."""
    settings = load(config=config)
    _, done = ask(settings, endpoint, "POST", "/_nephele/reset", {"account": account} if account else {})
    typer.echo(f"Reset {done['reset']}.")


@app.command()
def events(
    bucket: Annotated[str | None, typer.Option(help="One bucket only.")] = None,
    after: Annotated[int, typer.Option(help="Only those behind this number.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10000)] = 1000,
    endpoint: Endpoint = None,
    config: Config = None,
) -> None:
    """Print the events of buckets that have a notification configuration, one JSON line each."""
    query = {"after": after, "limit": limit} | ({"bucket": bucket} if bucket else {})
    _, told = ask(load(config=config), endpoint, "GET", f"/_nephele/events?{urlencode(query)}")
    for event in told["events"]:
        typer.echo(json.dumps(event))


@app.command()
def operations(
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/coverage.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    service: Annotated[str | None, typer.Option(help="One service only.")] = None,
) -> None:
    """List the operations that are implemented."""
    from gateway import coverage

    render: Callable[..., str] = coverage.as_markdown if markdown else coverage.as_json if as_json else coverage.as_text
    typer.echo(render(service), nl=False)


@app.command()
def settings(markdown: Annotated[bool, typer.Option("--markdown", help="As docs/settings.md.")] = False) -> None:
    """List the settings: their variables, defaults and meanings."""
    import rich
    from rich.table import Table

    from gateway import coverage

    if markdown:
        typer.echo(coverage.settings_page(), nl=False)
        return
    table = Table("variable", "default", "meaning", box=None)
    for row in coverage.settings_rows():
        table.add_row(*row)
    rich.print(table)


app.command()(audit_commands.audit)
app.command()(audit_commands.sweep)
app.command()(console)
