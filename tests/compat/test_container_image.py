"""The container image: built on a Debian of its own, then run as the Dockerfile says: `make test-image`, as root.

Nothing here needs Docker, nor a registry of images: buildah builds, and what a container is to a program (a root file
system, a volume, a network, being process 1) is made of namespaces. It takes minutes, so it runs on demand only.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import sandbox
from tests.compat.conftest import Client, new_client
from tests.compat.passing import until
from tests.sandbox import Sandbox
from tests.server import ROOT

pytestmark = [pytest.mark.on_demand, pytest.mark.timeout(1800)]

TOOLS = ("buildah", "mmdebstrap", "chroot", "unshare")
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
LENT = ("/etc/pip.conf", "/etc/ssl/certs")
"""What this machine's pip needs to reach its registry, lent to the build where it is there."""
VOLUME = "/var/lib/nephele"
ENDPOINT = "http://127.0.0.1:4566"
DEADLINE = 60
"""Seconds for a start or an end on the slowest machine; every wait ends as soon as it can."""


def command(*arguments: str) -> str:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The id of an image that the Dockerfile made, on a base of Debian's packages."""
    if reason := sandbox.missing() or sandbox.has(TOOLS):
        sandbox.unable(reason)
    folder = tmp_path_factory.mktemp("image")
    base, built = (f"localhost/nephele-{name}-{secrets.token_hex(4)}" for name in ("base", "test"))
    try:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        command("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, f"{folder}/base.tar")
        working = command("buildah", "from", "scratch").strip()
        try:
            command("buildah", "add", "--quiet", working, f"{folder}/base.tar", "/")
            command("buildah", "commit", "--quiet", working, base)
        finally:
            command("buildah", "rm", working)
        lent = [f"--volume={path}:{path}:ro" for path in LENT if os.path.exists(path)]
        options = ["--isolation", "chroot", "--network", "host", "--format", "docker", "--layers=false", *lent]
        command("buildah", "bud", *options, "--build-arg", f"BASE={base}", "--tag", built, ".")
        yield built
    finally:
        for name in (built, base):
            subprocess.run(["buildah", "rmi", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    """What the image says about running it."""
    told: dict[str, Any] = json.loads(command("buildah", "inspect", "--type", "image", image))["Docker"]["config"]
    return told


class Container:
    """The image's command as process 1 of its own namespaces, with a volume and a network that outlive it."""

    def __init__(self, box: Sandbox, root: Path, config: dict[str, Any], log: Path) -> None:
        self.box, self.root, self.config, self.log = box, root, config, log
        self.environment: dict[str, str] = dict(line.split("=", 1) for line in config["Env"])

    def command(self, *arguments: str) -> list[str]:
        """A command inside, as the image's user."""
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        inside = ["chroot", f"--userspec={self.config['User']}", str(self.root), "env", "-i", *settings]
        return [*inside, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.box.run(*self.command(*arguments), check=False)

    def start(self) -> None:
        """Returns when it serves, or has ended."""
        alone = ["unshare", "--pid", "--fork", f"--mount-proc={self.root}/proc"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.box.prefix, *alone, *self.command(*self.config["Cmd"])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + DEADLINE
        while "Ready." not in self.said() and self.process.poll() is None:
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text()

    def signal(self, number: signal.Signals) -> int:
        """Send process 1 a signal; the container's exit status."""
        of = self.process.pid
        (first,) = Path(f"/proc/{of}/task/{of}/children").read_text().split()
        os.kill(int(first), number)
        return self.process.wait(timeout=DEADLINE)

    def user(self) -> str:
        """Process 1's user id."""
        of = self.process.pid
        (first,) = Path(f"/proc/{of}/task/{of}/children").read_text().split()
        return re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{first}/status").read_text(), re.MULTILINE)[1]  # type: ignore[index]

    def healthy(self) -> bool:
        """What the image's health check says, run as Docker runs it."""
        kind, *check = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*check).returncode == 0


@pytest.fixture
def container(image: str, config: dict[str, Any], tmp_path: Path) -> Iterator[Container]:
    working = command("buildah", "from", image).strip()
    try:
        root = Path(command("buildah", "mount", working).strip())
        volume = tmp_path / "volume"
        command("cp", "--archive", f"{root}{VOLUME}", str(volume))  # as a new volume begins: with the image's folder
        with Sandbox() as box:
            box.run("mount", "--bind", str(volume), f"{root}{VOLUME}")
            box.run("mount", "--rbind", "/dev", f"{root}/dev")
            with box.entered():
                yield Container(box, root, config, tmp_path / "log")
    finally:
        command("buildah", "rm", working)


@contextlib.contextmanager
def s3(key: str, secret: str) -> Iterator[Client]:
    client = new_client(ENDPOINT, "s3", key, secret=secret)
    yield client
    client.close()


def test_the_image_says_how_to_run_it(config: dict[str, Any]) -> None:
    assert (config["User"], config["Cmd"]) == ("nephele", ["nephele", "serve"])
    assert list(config["ExposedPorts"]) == ["4566/tcp"]
    assert list(config["Volumes"]) == [VOLUME]


def test_a_container_shows_its_key_once_and_keeps_its_state(container: Container) -> None:
    assert not container.healthy()
    container.start()
    key = re.search(r"(AKIA[A-Z2-7]{16})\S*\s+\S*?([\w-]{40})", container.said())
    assert key, container.said()
    assert container.user() == "4566"
    assert container.healthy()
    with s3("test", "test") as stranger, pytest.raises(ClientError, match="InvalidAccessKeyId"):
        stranger.list_buckets()
    with s3(*key.groups()) as root:
        root.create_bucket(Bucket="kept")
        root.put_object(Bucket="kept", Key="k", Body=b"here")
    container.signal(signal.SIGKILL)

    container.start()
    assert key[2] not in container.said()
    with s3(*key.groups()) as root:
        assert root.get_object(Bucket="kept", Key="k")["Body"].read() == b"here"
    assert container.signal(signal.SIGTERM) == 0, container.said()
    assert not container.healthy()


def test_a_container_on_a_port_that_only_this_machine_reaches_has_open_roots(container: Container) -> None:
    """As compose.yaml sets it."""
    container.environment |= {"NEPHELE_OPEN_ROOT": "true", "NEPHELE_PORT": "4566"}
    container.start()
    with s3("123456789012", "test") as root:
        root.create_bucket(Bucket="open")
    status = container.run("nephele", "status")
    assert (status.returncode, status.stderr) == (0, "") and "uptime_seconds" in status.stdout
    assert container.signal(signal.SIGTERM) == 0, container.said()


def test_scripts_of_those_who_come_from_localstack_run(container: Container) -> None:
    folder = container.root / "etc/localstack/init/ready.d"
    folder.mkdir(parents=True)
    (folder / "make.sh").write_text("#!/bin/sh\nawslocal s3 mb s3://made-by-a-script\n")
    (folder / "make.sh").chmod(0o755)
    container.environment |= {"NEPHELE_OPEN_ROOT": "true", "NEPHELE_PORT": "4566"}
    container.start()
    with s3("test", "test") as root:
        until(lambda: [bucket["Name"] for bucket in root.list_buckets()["Buckets"]], bool, DEADLINE)
        assert [bucket["Name"] for bucket in root.list_buckets()["Buckets"]] == ["made-by-a-script"], container.said()
    assert container.signal(signal.SIGTERM) == 0, container.said()


def test_a_folder_of_somebody_else_is_refused_in_words(container: Container) -> None:
    container.box.run("chown", "root:", f"{container.root}{VOLUME}")
    container.start()
    assert container.process.wait() != 0
    assert f"cannot use the data folder {VOLUME}" in container.said()
    assert "Traceback" not in container.said()
