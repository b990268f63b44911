"""Requests signed by botocore's own signers, turned into the heads that a server sees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from compat.iam.principal import Credential, root
from gateway.head import Head

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2026, 11, 22, 12, 30, 45, tzinfo=UTC)
PERMANENT = Credential(SECRET, None, None, root("123456789012"))
TEMPORARY = Credential(SECRET, "token/+=", NOW + timedelta(hours=1), root("123456789012"))


def known(access_key: str) -> Credential | None:
    """A directory of one permanent key."""
    return PERMANENT if access_key == KEY else None


def temporary(access_key: str) -> Credential | None:
    """A directory of one temporary key."""
    return TEMPORARY if access_key == KEY else None


def sign(
    signer: type[auth.BaseSigner],
    url: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    data: bytes = b"",
    service: str = "s3",
    region: str = "eu-central-1",
    at: datetime = NOW,
    secret: str = SECRET,
    token: str | None = None,
    auth_path: str | None = None,
    **options: Any,
) -> AWSRequest:
    """A request as botocore signs it at the moment `at`."""
    request = AWSRequest(method=method, url=url, headers=headers or {}, data=data, auth_path=auth_path)
    request.context["client_config"] = None
    credentials = Credentials(KEY, secret, token)
    two = issubclass(signer, auth.HmacV1Auth)
    made = signer(credentials, **options) if two else signer(credentials, service, region, **options)  # type: ignore[call-arg]
    with (
        mock.patch("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None)),
        mock.patch("botocore.crt.auth.get_current_datetime", lambda remove_tzinfo: at),
        mock.patch("botocore.auth.time.time", at.timestamp),
        mock.patch("botocore.auth.formatdate", lambda *a, **k: f"{at:%a, %d %b %Y %H:%M:%S} GMT"),
    ):
        made.add_auth(request)
    return request


def head_of(request: AWSRequest) -> Head:
    """The head with which a request arrives."""
    assert request.method is not None and request.url is not None
    url = urlsplit(str(request.url))
    headers = [(b"host", url.netloc.encode())] if "host" not in request.headers else []
    for name, value in request.headers.items():
        headers.append((name.lower().encode(), value if isinstance(value, bytes) else str(value).encode()))
    return Head(request.method, url.path.encode() or b"/", url.query.encode(), headers)
