"""Moving the cloud's clock on: units of work see it, signatures do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import advance, ask
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
MONTH = 30 * 86400


@pytest.mark.parametrize("workers", ["1", "2"])
def test_time_moves_for_every_worker_and_stays_moved(tmp_path: Path, workers: str) -> None:
    with Server(tmp_path / "data", "--workers", workers) as server:
        advance(server.endpoint, MONTH)
        for _ in range(4):
            s3 = new_client(server.endpoint, "s3", "test")  # a connection of its own: any worker may take it
            bucket = make_bucket(s3)
            s3.put_object(Bucket=bucket, Key="k", Body=b"x")
            modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
            assert modified - datetime.now(UTC) > timedelta(days=29)
            s3.close()
        server.kill()
        server.start_again()
        assert ask(server.endpoint, "GET", "/_nephele/time")["ahead"] == MONTH
        ask(server.endpoint, "POST", "/_nephele/reset")
        assert ask(server.endpoint, "GET", "/_nephele/time")["ahead"] == 0


def test_presigned_addresses_go_by_the_machines_time(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        s3: Any = new_client(server.endpoint, "s3", "test")
        bucket = make_bucket(s3)
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=600)
        advance(server.endpoint, MONTH)
        assert ask("", "GET", url, raw=True) == b"x"


@pytest.mark.parametrize("body", [{}, {"advance": -1}, {"advance": "1"}, {"advance": 1e300}, {"back": 1}])
def test_what_is_no_move_is_refused(server: Server, body: dict[str, Any]) -> None:
    assert "message" in ask(server.endpoint, "POST", "/_nephele/time", body, status=400)


def test_not_everybody_moves_time(tmp_path: Path, client: Callable[..., Any]) -> None:
    with Server(tmp_path / "data", environment={"NEPHELE_OPEN_ROOT": "false"}) as server:
        ask(server.endpoint, "POST", "/_nephele/time", {"advance": 1}, status=401)
