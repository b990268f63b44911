"""What all tests share: an environment without anybody's AWS settings, and a PostgreSQL when the machine has one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import postgres, sandbox

for name in [name for name in os.environ if name.startswith(("AWS_", "NEPHELE_", "BOTO_"))]:
    del os.environ[name]
# Servers and commands are started by the hundred: they are not to compile every module each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
# Timings decide no test. (Where CI is set, hypothesis draws the same examples every time.)
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_report_header() -> str:
    return f"PostgreSQL: {postgres.missing() or postgres.directory()}; sandbox: {sandbox.missing() or 'yes'}"


REAL, COMPAT = "tests/compat/real/", "tests/compat/"
GUESTLESS = tuple(
    f"{REAL}test_{name}" for name in ("network", "packets", "guest_services", "sandbox", "still", "volumes")
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs on demand only, unless it was named; begin with what takes longest: real guests and
    networks, then files with a slow test; and end with the short ones, which no process waits for."""
    if "on_demand" not in config.option.markexpr:
        left = [item for item in items if item.get_closest_marker("on_demand")]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> int:
        if item.nodeid.startswith(REAL):
            return 0
        return 1 if item.path in slow else 2 if item.nodeid.startswith(COMPAT) else 3

    items.sort(key=turn)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, since tests wait: for servers, guests, and Terraform, which sleeps for two
    minutes of its three."""
    return len(os.sched_getaffinity(0)) + 1


class ByFile(LoadScopeScheduling):
    """Tests of one file run in one process, and all real guests in one: two of them at once are slow. Networks whose
    guests are namespaces, and disks without any, go beside them."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(GUESTLESS):
            return GUESTLESS[0]
        return REAL if nodeid.startswith(REAL) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Cluster]:
    """A private PostgreSQL for this run; tests that ask for it are skipped where there is none."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[str]:
    """An empty database, on each kind of database that Nephele runs on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/nephele.db"
        return
    cluster: postgres.Cluster = request.getfixturevalue("postgresql")
    url = cluster.new_database()
    yield url
    cluster.drop_database(url)
