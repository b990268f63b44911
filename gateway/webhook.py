"""The webhook that gets the events of buckets, one POST each."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping

from gateway import __version__

PATIENCE = 5.0
"""Seconds."""


class Webhook:
    """Posts JSON to a URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Post one message; None when the answer is a success, else what went wrong."""
        headers = {"Content-Type": "application/json", "User-Agent": f"Nephele/{__version__}", **headers}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):
                return None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as fault:
            return f"{self._url}: {fault}"
