"""Clients of a server, for commands: botocore's, with the endpoint and the key that `nephele env` shows."""

from __future__ import annotations

import os
from typing import Any

from gateway.settings import load


def client(service: str, endpoint: str | None = None, account: str | None = None, region: str | None = None) -> Any:
    """A client of a service. The endpoint is the one given, else AWS_ENDPOINT_URL's, else that of the settings."""
    import botocore.session

    from gateway.cli import client_environment

    known = client_environment(load(), endpoint or os.environ.get("AWS_ENDPOINT_URL"), account)
    return botocore.session.get_session().create_client(
        service,
        region_name=region or known["AWS_DEFAULT_REGION"],
        endpoint_url=known["AWS_ENDPOINT_URL"],
        aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
    )
