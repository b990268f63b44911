"""The way of commands to a server: their options, where it listens, who they are there, and how they end."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gateway.settings import RootKey, Settings, load

Endpoint = Annotated[
    str | None, typer.Option("--endpoint", help="URL of the server. Default: where the settings say that it listens.")
]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", dir_okay=False)]
Account = Annotated[str | None, typer.Option("--account", help="A 12-digit account id.")]
ROOT_KEY_FILE = "root-key.json"
"""Where a server keeps the root key that it made at its first start, in its data folder."""


def endpoint_of(settings: Settings) -> str:
    """The URL that clients on this machine use of a server with these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command with a message, line by line, on standard error."""
    for line in message.splitlines():
        typer.echo(f"nephele: {line}", err=True)
    sys.exit(status)


def client(service: str, endpoint: str | None = None, account: str | None = None, region: str | None = None) -> Any:
    """A client of a service. The endpoint is the one given, else AWS_ENDPOINT_URL's, else that of the settings."""
    import botocore.session

    known = client_environment(load(), endpoint or os.environ.get("AWS_ENDPOINT_URL"), account)
    return botocore.session.get_session().create_client(
        service,
        region_name=region or known["AWS_DEFAULT_REGION"],
        endpoint_url=known["AWS_ENDPOINT_URL"],
        aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
    )


def _endpoint(settings: Settings, endpoint: str | None) -> str:
    return (endpoint or endpoint_of(settings)).rstrip("/")


def _root(settings: Settings) -> RootKey:
    """The key that a client on this machine uses: a given root, else the one made at first start, else `test`."""
    if settings.root_keys:
        return settings.root_keys[0]
    file = settings.data_dir / ROOT_KEY_FILE
    if not settings.has_open_root and file.exists():
        return RootKey.model_validate_json(file.read_bytes())
    return RootKey(access_key="test", secret_key="test")


def client_environment(settings: Settings, endpoint: str | None, account: str | None) -> dict[str, str]:
    """The variables with which AWS's tools find the server, and are somebody there."""
    key = RootKey(access_key=account, secret_key="test") if account else _root(settings)
    base = _endpoint(settings, endpoint)
    scheme, _, place = base.partition("://")
    return {
        "AWS_ENDPOINT_URL": base,
        # botocore puts "ACCOUNT." before the host of S3 Control; before an @ it is a user's name, and the host stays.
        "AWS_ENDPOINT_URL_S3_CONTROL": f"{scheme}://@{place}",
        "AWS_ACCESS_KEY_ID": key.access_key,
        "AWS_SECRET_ACCESS_KEY": key.secret_key,
        "AWS_DEFAULT_REGION": settings.default_region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def ask(
    settings: Settings, endpoint: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """As `fetch`, of what answers in JSON."""
    base, found = fetch(settings, endpoint, method, path, body)
    try:
        answer: dict[str, Any] = json.loads(found)
    except ValueError as error:
        fail(f"no Nephele answers at {base}: {error}")
    return base, answer


def fetch(
    settings: Settings, endpoint: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[str, bytes]:
    """Ask a server's own paths as a root; where it is, and what it answered. Ends the command when it does not."""
    import urllib.error
    import urllib.request

    base = _endpoint(settings, endpoint)
    key = _root(settings)
    basic = base64.b64encode(f"{key.access_key}:{key.secret_key}".encode()).decode()
    request = urllib.request.Request(
        base + path,
        data=json.dumps(body).encode() if body is not None else None,
        method=method,
        headers={"Content-Type": "application/json", "Authorization": f"Basic {basic}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return base, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            fail(f"{base} answered {error.code}: {error.read(4096).decode('utf-8', 'replace')}")
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        fail(f"no Nephele answers at {base}: {getattr(error, 'reason', error)}")
