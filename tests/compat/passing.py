"""Time that passes: moving a server's clock, and waiting until something has come true."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
DAY = 86400


def ask(endpoint: str, method: str, path: str, body: Any = None, *, status: int = 200, raw: bool = False) -> Any:
    """One of Nephele's own paths: the JSON of its answer, which must have that status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(endpoint + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found, given = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        with error:
            found, given = error.read(), error.code
    assert given == status, found
    return found if raw else json.loads(found)


def advance(endpoint: str, seconds: float) -> None:
    """Let time pass in the cloud."""
    ask(endpoint, "POST", "/_nephele/time", {"advance": seconds})


def until(look: Callable[[], T], wanted: Callable[[T], bool] = bool, seconds: float = 60) -> T:
    """Look until it is as wanted, at most so many seconds; what was seen last is told when that does not come."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if wanted(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)
