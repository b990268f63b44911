"""Real backends: started servers in a sandbox of their own (`tests/sandbox.py`), one for each test file.

A file says in `ARGUMENTS` what follows `nephele serve`, in `ENVIRONMENT` what is added to its environment, and in
`LIMITED` which folder of its data has a file system of 1 GiB to itself, which can be filled. Tests are marked `real`;
where the machine cannot run them they are skipped with the reason, or fail when NEPHELE_REQUIRE_REAL=1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.errors import Unsupported
from backends.image import micro
from tests.compat.conftest import Client, new_client
from tests.sandbox import Sandbox, missing, unable
from tests.server import Server

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nephele"
"""Where `nephele image build` keeps what it made, too."""


@pytest.fixture(scope="session")
def image() -> Path:
    """A disk that boots by itself."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        return micro.build(CACHE).disk
    except Unsupported as error:
        unable(f"cannot make the micro image: {error}")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """The namespaces of a test file; its tests make their connections inside."""
    if reason := missing():
        unable(reason)
    with Sandbox() as made, made.entered():
        yield made


@pytest.fixture(scope="module")
def cloud(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server in the sandbox, started with the `ARGUMENTS` of the test file."""
    arguments: tuple[str, ...] = getattr(request.module, "ARGUMENTS", ())
    environment: dict[str, str] = getattr(request.module, "ENVIRONMENT", {})
    folder = tmp_path_factory.mktemp("cloud") / "data"
    if limited := getattr(request.module, "LIMITED", ""):
        (folder / limited).mkdir(parents=True)
        sandbox.run("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder / limited))
    with Server(folder, *arguments, environment=environment, prefix=sandbox.prefix) as started:
        yield started


@pytest.fixture
def client(cloud: Server, account: str) -> Iterator[Callable[..., Client]]:
    """As in tests/compat, of the server in the sandbox."""
    made: list[Client] = []

    def make(service: str, *, account: str = account, key: str | None = None, **options: Any) -> Client:
        made.append(new_client(cloud.endpoint, service, key or account, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
