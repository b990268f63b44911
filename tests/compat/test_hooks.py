"""Scripts that run at start and at the end of a server, as users of LocalStack have them."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import until
from tests.server import Server

MAKE = "#!/bin/sh\nset -e\nawslocal s3 mb s3://by-a-script\nawslocal s3 cp {here}/seed.txt s3://by-a-script/seed.txt\n"
ASK = """
import os, boto3
boto3.client("ssm").put_parameter(Name="/seeded", Value=os.environ["AWS_ENDPOINT_URL"], Type="String")
"""


def script(folder: Path, name: str, text: str, mode: int = 0o755) -> None:
    """A script in a folder."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def told(server: Server, stage: str = "") -> dict[str, Any]:
    """What the server tells of its scripts."""
    with urllib.request.urlopen(f"{server.endpoint}/_localstack/init{stage}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.mark.parametrize("workers", ["1", "2"])
def test_scripts_of_every_stage_run_in_their_order(tmp_path: Path, workers: str) -> None:
    init, trace = tmp_path / "init", tmp_path / "trace"
    for place in (
        "boot.d/a.sh",
        "start.d/b.sh",
        "ready.d/z/deep.sh",
        "ready.d/1.sh",
        "ready.d/2.sh",
        "shutdown.d/e.sh",
    ):
        script(init, place, f"#!/bin/sh\necho {place} >>{trace}\n")
    script(init, "ready.d/3.sh", MAKE.format(here=tmp_path))
    (tmp_path / "seed.txt").write_text("seed")
    script(init, "ready.d/4.py", ASK, 0o644)
    script(init, "ready.d/5.sh", "#!/bin/sh\nexit 3\n")
    script(init, "ready.d/6.sh", f"#!/bin/sh\necho not executable >>{trace}\n", 0o644)
    script(init, "ready.d/notes.txt", "no script")
    script(init, "shutdown.d/f.sh", f"#!/bin/sh\nawslocal s3 cp s3://by-a-script/seed.txt {tmp_path}/saved.txt\n")
    server = Server(tmp_path / "data", "--workers", workers, environment={"NEPHELE_INIT_DIRS": str(init)})
    try:
        until(lambda: told(server), lambda found: found["completed"]["READY"])
        s3 = new_client(server.endpoint, "s3", "test")
        assert s3.get_object(Bucket="by-a-script", Key="seed.txt")["Body"].read() == b"seed"
        found = new_client(server.endpoint, "ssm", "test").get_parameter(Name="/seeded")["Parameter"]["Value"]
        assert found == server.endpoint
        states = {entry["name"]: entry["state"] for entry in told(server)["scripts"]}
        assert states == dict.fromkeys(("a.sh", "b.sh", "deep.sh", "1.sh", "2.sh", "3.sh", "4.py"), "SUCCESSFUL") | {
            "5.sh": "ERROR",
            "6.sh": "ERROR",
            "e.sh": "UNKNOWN",
            "f.sh": "UNKNOWN",
        }
        assert told(server)["completed"] == {"BOOT": True, "START": True, "READY": True, "SHUTDOWN": False}
        assert "5.sh ended with 3" in server.log.read_text()
    finally:
        server.stop()
    order = ["boot.d/a.sh", "start.d/b.sh", "ready.d/z/deep.sh", "ready.d/1.sh", "ready.d/2.sh", "shutdown.d/e.sh"]
    assert trace.read_text().split() == order
    assert (tmp_path / "saved.txt").read_text() == "seed", "the server answered while it ended"


@pytest.mark.embedded
def test_without_scripts_every_stage_is_over(server: Server) -> None:
    until(lambda: told(server)["completed"]["READY"])
    assert told(server, "/boot") == {"completed": True, "scripts": []}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        told(server, "/never")
