"""Terraform as its users run it: apply, a plan that finds nothing to do, a change, destroy, nothing left.

Needs the `terraform` program and a folder with its AWS provider (this test never downloads): TERRAFORM_MIRROR names
one, else the usual plugin folders are searched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.compat.passing import until

CONFIGURATION = Path(__file__).parent / "terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"
HOMES = (
    "~/.terraform.d",
    "~/.local/share/terraform",
    "/usr/local/share/terraform",
    "/usr/share/terraform",
    "/opt",
    "/srv",
    "/var/lib",
)
DEPTH = 4
"""How many folders below one of the homes a mirror may lie."""

AS_ON_AWS = """
provider "aws" {
  region            = "us-east-1"
  s3_use_path_style = true
}
"""
AS_IN_TUTORIALS = """
provider "aws" {
  access_key                  = "%(key)s"
  secret_key                  = "test"
  region                      = "us-east-1"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    ec2       = "%(endpoint)s"
    iam       = "%(endpoint)s"
    s3        = "%(endpoint)s"
    s3control = "%(endpoint)s"
    sts       = "%(endpoint)s"
  }
}
"""


def _folders(home: Path, depth: int) -> Iterator[Path]:
    yield home
    if depth:
        try:
            below = [Path(entry) for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for folder in sorted(below):
            yield from _folders(folder, depth - 1)


def mirror() -> Path | None:
    """A folder that holds the AWS provider as a filesystem mirror does."""
    given = os.environ.get("TERRAFORM_MIRROR") or os.environ.get("TF_PLUGIN_CACHE_DIR")
    homes = [Path(given)] if given else [Path(home).expanduser() for home in HOMES]
    for home in homes:
        for folder in _folders(home, 0 if given else DEPTH):
            if (folder / PROVIDER).is_dir():
                return folder
    return None


class Terraform:
    """A working folder with the configuration, at a server, as the root of an account."""

    def __init__(self, program: str, mirror: Path, folder: Path, endpoint: str, account: str) -> None:
        self.program, self.folder, self.endpoint, self.account = program, folder, endpoint, account
        shutil.copytree(CONFIGURATION, folder, dirs_exist_ok=True)
        config = folder / "terraform.rc"
        config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        key = ed25519.Ed25519PrivateKey.generate().public_key()
        public = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment = inherited | {
            "TF_CLI_CONFIG_FILE": str(config),
            "TF_IN_AUTOMATION": "1",
            "TF_VAR_public_key": public,
            "TF_VAR_bucket": f"acceptance-{account}",
            "CHECKPOINT_DISABLE": "1",
            "GOGC": "200",  # the provider makes half a gigabyte of schemas at every start
            "AWS_MAX_ATTEMPTS": "2",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def provider(self, block: str, **environment: str) -> None:
        """Write the provider block; `environment` is what the user has exported."""
        (self.folder / "provider.tf").write_text(block)
        self.environment |= environment

    def begin(self, configuration: Path) -> None:
        """Apply another configuration than the one of this file."""
        for file in self.folder.glob("*.tf"):
            file.unlink()
        shutil.copytree(configuration, self.folder, dirs_exist_ok=True)
        root = {"AWS_ACCESS_KEY_ID": self.account, "AWS_SECRET_ACCESS_KEY": "test"}
        self.provider(AS_ON_AWS, AWS_ENDPOINT_URL=self.endpoint, **root)
        self.run("init", "-no-color")
        self.apply()

    def apply(self) -> None:
        """Apply, after which a plan has to find nothing to do."""
        self.run("apply", "-auto-approve", "-no-color", "-input=false")
        assert "No changes" in self.run("plan", "-detailed-exitcode", "-no-color", "-input=false")

    def run(self, *arguments: str, statuses: tuple[int, ...] = (0,)) -> str:
        """Run terraform; its output. Another exit status than `statuses` fails the test with what it said."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        if done.returncode not in statuses:
            pytest.fail(f"terraform {' '.join(arguments)}: status {done.returncode}\n{done.stdout[-12000:]}")
        return done.stdout

    def outputs(self) -> dict[str, Any]:
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}


@pytest.fixture
def terraform(endpoint: str, account: str, tmp_path: Path) -> Terraform:
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not in PATH")
    found = mirror()
    if found is None:
        pytest.skip(f"no folder with {PROVIDER} in {', '.join(HOMES)}: set TERRAFORM_MIRROR")
    return Terraform(program, found, tmp_path / "configuration", endpoint, account)


def leftovers(client: Callable[..., Any]) -> dict[str, list[str]]:
    """What an account still has, apart from what every account has from the beginning."""
    ec2, iam, s3 = client("ec2"), client("iam"), client("s3")
    own = [{"Name": "tag:Project", "Values": ["acceptance"]}]
    left = {
        "vpcs": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
        "subnets": [subnet["SubnetId"] for subnet in ec2.describe_subnets(Filters=own)["Subnets"]],
        "gateways": [
            one["InternetGatewayId"] for one in ec2.describe_internet_gateways(Filters=own)["InternetGateways"]
        ],
        "nat": [n["NatGatewayId"] for n in ec2.describe_nat_gateways()["NatGateways"] if n["State"] != "deleted"],
        "addresses": [address["AllocationId"] for address in ec2.describe_addresses()["Addresses"]],
        "groups": [
            g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"
        ],
        "tables": [table["RouteTableId"] for table in ec2.describe_route_tables(Filters=own)["RouteTables"]],
        "interfaces": [one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces()["NetworkInterfaces"]],
        "instances": [
            instance["InstanceId"]
            for reservation in ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] != "terminated"
        ],
        "volumes": [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]],
        "keys": [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]],
        "roles": [role["RoleName"] for role in iam.list_roles()["Roles"] if "/aws-service-role/" not in role["Path"]],
        "policies": [policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]],
        "profiles": [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
        "buckets": [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
    }
    return {kind: names for kind, names in left.items() if names}


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_whole_configuration_comes_stays_changes_and_goes(terraform: Terraform, client: Callable[..., Any]) -> None:
    bucket = terraform.environment["TF_VAR_bucket"]
    exported = {
        "AWS_ENDPOINT_URL": terraform.endpoint,
        "AWS_ACCESS_KEY_ID": terraform.account,
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    terraform.provider(AS_ON_AWS, **exported)
    terraform.run("init", "-no-color")
    terraform.apply()

    outputs = terraform.outputs()
    assert outputs["account"] == terraform.account
    (reservation,) = client("ec2").describe_instances(InstanceIds=[outputs["instance"]])["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["State"]["Name"] == "running"
    assert instance["PublicIpAddress"] == outputs["address"]
    assert {mapping["DeviceName"] for mapping in instance["BlockDeviceMappings"]} >= {"/dev/sdf"}
    page = client("s3").get_object(Bucket=bucket, Key="site/index page+1.html")
    assert page["Body"].read() == b"<h1>one</h1>"

    # From here on as the tutorials write it, with a change of every tag and of an object.
    terraform.provider(AS_IN_TUTORIALS % {"key": terraform.account, "endpoint": terraform.endpoint})
    for name in exported:
        del terraform.environment[name]
    terraform.environment["TF_VAR_stage"] = "two"
    terraform.apply()
    assert client("s3").get_object(Bucket=bucket, Key="site/index page+1.html")["Body"].read() == b"<h1>two</h1>"
    (vpc,) = client("ec2").describe_vpcs(Filters=[{"Name": "tag:Stage", "Values": ["two"]}])["Vpcs"]
    assert vpc["CidrBlock"] == "10.20.0.0/16"

    terraform.run("destroy", "-auto-approve", "-no-color", "-input=false")
    until(lambda: leftovers(client), lambda left: not left)  # what goes with an instance goes a little later
