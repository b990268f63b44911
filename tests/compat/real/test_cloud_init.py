"""A Debian with cloud-init, as it comes, finds in Nephele what it finds in EC2: `make test-cloud-init`, as root.

Without KVM such a guest takes some 150 seconds of processor time to boot, so this runs on demand only; what it waits
for may take as long as a slow machine does.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.compute.drivers import libvirt
from backends.errors import Unsupported
from backends.network.drivers import linux
from tests.compat.conftest import Client, new_client
from tests.compat.real import debian
from tests.compat.real.conftest import CACHE
from tests.compat.waiting import wait
from tests.sandbox import Sandbox, unable
from tests.server import Server

pytestmark = [pytest.mark.real, pytest.mark.on_demand, pytest.mark.timeout(3600)]
ARGUMENTS = ("--compute", "libvirt", "--volume", "qcow2", "--network", "linux", "--log-level", "info")
ACCOUNT = "123456789012"
BOOT, STEP = 2400.0, 300.0
"""Seconds for a boot, and for anything that a running guest is asked."""
USER_DATA = """#cloud-config
hostname: named-by-user-data
write_files:
- {path: /var/told, content: "written by user data\\n"}
runcmd:
- [sh, -c, "echo user data ran as $(id -un) > /dev/console"]
"""


def until(find: Callable[[], Any], complaint: Callable[[], str], patience: float) -> Any:
    """Look until something is found."""
    deadline = time.monotonic() + patience
    while not (found := find()):
        assert time.monotonic() < deadline, complaint()
        time.sleep(1.0)
    return found


class Debian:
    """The instance, with a way in for its owner."""

    def __init__(self, cloud: Server, sandbox: Sandbox, key: Path) -> None:
        self.cloud, self.sandbox, self.key = cloud, sandbox, key
        self.ec2: Client = new_client(cloud.endpoint, "ec2", ACCOUNT)
        self.id = self.address = ""

    def output(self) -> str:
        return str(self.ec2.get_console_output(InstanceId=self.id).get("Output", ""))

    def run(self, command: str) -> str:
        """What a command says that is run over SSH; waits until somebody lets us in."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=30"]
        words = [*self.sandbox.prefix, "ssh", "-q", "-i", str(self.key), *options, f"debian@{self.address}", command]
        done: subprocess.CompletedProcess[str] | None = None

        def let_in() -> bool:
            nonlocal done
            done = subprocess.run(words, capture_output=True, text=True, timeout=STEP)
            return done.returncode != 255  # ssh's own failures

        until(let_in, lambda: f"{done}\n{self.output()[-3000:]}", STEP)
        assert done is not None and done.returncode == 0, done
        return done.stdout


@pytest.fixture(scope="module")
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    if missing := [f"{one.what} ({one.remedy})" for one in libvirt.lacks()] + list(linux.lacks()):
        unable("lacks " + "; ".join(missing))
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        disk = debian.build(CACHE)
    except Unsupported as error:
        unable(str(error))
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    cloud: Server = request.getfixturevalue("cloud")
    key = tmp_path_factory.mktemp("key") / "key"
    made = Debian(cloud, sandbox, key)
    material = made.ec2.create_key_pair(KeyName="owner", KeyType="ed25519")["KeyMaterial"]
    key.touch(0o600)
    key.write_text(material)
    image = _import(cloud, sandbox, disk)
    group = made.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    made.ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
    )
    run = made.ec2.run_instances(
        ImageId=image,
        InstanceType="t3.micro",
        KeyName="owner",
        UserData=USER_DATA,
        MinCount=1,
        MaxCount=1,
        MetadataOptions={"HttpTokens": "required"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "debian"}]}],
    )
    made.id = run["Instances"][0]["InstanceId"]
    yield made
    mark = sandbox.run("sh", "-c", "cat /run/nephele-*/libvirtd.pid").stdout
    made.ec2.terminate_instances(InstanceIds=[made.id])
    wait(made.ec2, "instance_terminated", InstanceIds=[made.id])
    os.kill(int(mark), signal.SIGTERM)


def _import(cloud: Server, sandbox: Sandbox, disk: Path) -> str:
    """The disk as an image, by the command line; its id."""
    done = sandbox.run(
        *(sys.executable, "-m", "gateway", "image", "import", str(disk), "--name", "debian-12"),
        *("--account", ACCOUNT, "--endpoint", cloud.endpoint),
        timeout=BOOT,
    )
    return done.stdout.split()[-1]


def test_cloud_init_finds_where_it_runs(guest: Debian) -> None:
    def done() -> bool:
        output = guest.output()
        assert "Kernel panic" not in output, output[-3000:]
        return "finished at" in output and "Datasource Data" in output

    until(done, lambda: guest.output()[-4000:], BOOT)
    assert "DataSourceEc2" in guest.output(), guest.output()[-4000:]
    reservation = guest.ec2.describe_instances(InstanceIds=[guest.id])["Reservations"][0]
    guest.address = reservation["Instances"][0]["PublicIpAddress"]


def test_its_owner_is_let_in_with_the_key(guest: Debian) -> None:
    assert guest.run("sudo id -un").strip() == "root"


def test_cloud_init_is_content(guest: Debian) -> None:
    status = json.loads(guest.run("cloud-init status --format json || true"))
    assert status["status"] == "done", status
    assert not status.get("errors"), status
    form = "{{v1.cloud_name}} {{v1.platform}} {{v1.region}} {{v1.availability_zone}} {{v1.instance_id}}"
    found = guest.run(f"cloud-init query --format {shlex.quote(form)}").split()
    instance = guest.ec2.describe_instances(InstanceIds=[guest.id])["Reservations"][0]["Instances"][0]
    assert found == ["aws", "ec2", "us-east-1", instance["Placement"]["AvailabilityZone"], guest.id]
    warnings = guest.run("sudo grep -E 'WARNING|ERROR|Traceback' /var/log/cloud-init.log || true")
    assert "Ec2" not in warnings and "metadata" not in warnings.lower(), warnings


def test_user_data_was_followed(guest: Debian) -> None:
    assert guest.run("sudo cat /var/told") == "written by user data\n"
    assert guest.run("hostname").strip() == "named-by-user-data"
    assert "user data ran as root" in guest.output()


def test_its_agent_answers_and_holds_file_systems_still_for_a_snapshot(guest: Debian) -> None:
    def well() -> bool:
        (status,) = guest.ec2.describe_instance_status(InstanceIds=[guest.id])["InstanceStatuses"]
        return bool(status["InstanceStatus"]["Status"] == "ok")

    until(well, lambda: guest.output()[-2000:], STEP)
    # The agent calls this before and after, if it is told to.
    hook = "#!/bin/sh\necho $1 >> /run/frozen\n"
    guest.run(
        f"printf %s {shlex.quote(base64.b64encode(hook.encode()).decode())} | base64 -d | sudo tee /usr/local/bin/hook "
        "> /dev/null; sudo chmod 755 /usr/local/bin/hook; printf '[general]\\nfsfreeze-hook=/usr/local/bin/hook\\n' | "
        "sudo tee /etc/qemu/qemu-ga.conf > /dev/null; sudo systemctl restart qemu-guest-agent; "
        "systemctl is-active qemu-guest-agent"
    )
    guest.run("echo kept | sudo tee /var/kept > /dev/null")
    instance = guest.ec2.describe_instances(InstanceIds=[guest.id])["Reservations"][0]["Instances"][0]
    volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]

    def frozen() -> bool:
        """An agent that does not answer within two seconds, as on a machine with other work, is not asked to freeze."""
        snapshot = guest.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        wait(guest.ec2, "snapshot_completed", SnapshotIds=[snapshot])
        return guest.run("cat /run/frozen || true").split()[:2] == ["freeze", "thaw"]

    until(frozen, lambda: guest.run("sudo journalctl -u qemu-guest-agent | tail -n 20"), BOOT)
