"""The metadata of simulated instances, as programs on loopback read it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
import requests
from botocore.credentials import InstanceMetadataProvider
from botocore.exceptions import ClientError
from botocore.utils import InstanceMetadataFetcher

from tests.compat.conftest import Client, new_client
from tests.compat.test_terraform import Terraform, mirror
from tests.compat.waiting import wait
from tests.server import Server

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("metadata") / "data", "--metadata-port", "0") as started:
        yield started


@pytest.fixture(scope="module")
def ec2(served: Server) -> Iterator[Client]:
    client = new_client(served.endpoint, "ec2", ACCOUNT)
    yield client
    client.close()


def metadata_port(server: Server) -> int:
    (line,) = [line for line in server.banner if line.strip().startswith("metadata")]
    return int(line.split()[2])


class Seen:
    """The metadata of an instance, from inside."""

    def __init__(self, server: Server, instance: str) -> None:
        ending = bytes.fromhex(instance[-6:])
        self.base = f"http://127.{ending[0]}.{ending[1]}.{ending[2]}:{metadata_port(server)}"
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, path: str, method: str = "GET", **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.request(method, self.base + path, headers=named, timeout=60)

    def token(self, seconds: int = 600) -> str:
        answer = self.ask("/latest/api/token", "PUT", **{TTL: str(seconds)})
        assert answer.status_code == 200, answer.text
        assert answer.headers[TTL] == str(seconds)
        return answer.text

    def read(self, path: str) -> str:
        answer = self.ask(f"/latest/meta-data/{path}", **{TOKEN: self.token()})
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.text


@pytest.fixture
def launch(served: Server, ec2: Client) -> Iterator[Callable[..., Seen]]:
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]
    made: list[str] = []

    def run(**asked: Any) -> Seen:
        instance_type = "t3.micro" if image["Architecture"] == "x86_64" else "t4g.micro"
        answer = ec2.run_instances(
            **{"ImageId": image["ImageId"], "InstanceType": instance_type, "MinCount": 1, "MaxCount": 1} | asked
        )
        (instance,) = answer["Instances"]
        made.append(instance["InstanceId"])
        seen = Seen(served, instance["InstanceId"])
        seen.instance = instance  # type: ignore[attr-defined]
        return seen

    yield run
    if made:
        ec2.terminate_instances(InstanceIds=made)


def test_the_tree_tells_what_describe_instances_shows(ec2: Client, launch: Callable[..., Seen]) -> None:
    seen = launch(UserData="#!/bin/sh\necho hello\n")
    id = seen.instance["InstanceId"]  # type: ignore[attr-defined]
    (shown,) = ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"]
    (card,) = shown["NetworkInterfaces"]
    for path, wanted in {
        "instance-id": id,
        "ami-id": shown["ImageId"],
        "ami-launch-index": "0",
        "instance-type": shown["InstanceType"],
        "local-ipv4": shown["PrivateIpAddress"],
        "local-hostname": shown["PrivateDnsName"],
        "hostname": shown["PrivateDnsName"],
        "public-ipv4": shown["PublicIpAddress"],
        "public-hostname": shown["PublicDnsName"],
        "mac": card["MacAddress"],
        "placement/availability-zone": shown["Placement"]["AvailabilityZone"],
        "placement/region": "us-east-1",
        "security-groups": card["Groups"][0]["GroupName"],
        "block-device-mapping/root": shown["RootDeviceName"],
        "services/domain": "amazonaws.com",
        f"network/interfaces/macs/{card['MacAddress']}/interface-id": card["NetworkInterfaceId"],
        f"network/interfaces/macs/{card['MacAddress']}/vpc-id": shown["VpcId"],
        f"network/interfaces/macs/{card['MacAddress']}/owner-id": ACCOUNT,
        f"network/interfaces/macs/{card['MacAddress']}/ipv4-associations/{shown['PublicIpAddress']}": shown[
            "PrivateIpAddress"
        ],
        "events/maintenance/scheduled": "[]",
    }.items():
        assert seen.read(path) == wanted, path
    assert seen.ask("/latest/user-data", **{TOKEN: seen.token()}).content == b"#!/bin/sh\necho hello\n"
    for absent in ("spot/instance-action", "iam/info", "tags/instance", "public-keys/", "nothing"):
        answer = seen.ask(f"/latest/meta-data/{absent}", **{TOKEN: seen.token()})
        assert (answer.status_code, "404 - Not Found" in answer.text) == (404, True), absent


def test_the_whole_tree_can_be_walked(ec2: Client, launch: Callable[..., Seen]) -> None:
    """As cloud-init's EC2 data source does: every line of a folder is asked for, with its signs spelled out, and must
    be there."""
    ec2.create_key_pair(KeyName="walker=1", KeyType="ed25519")
    tags = {"Name": "one", "a+b=c@d": "signs", "time:out": "x"}
    seen = launch(
        KeyName="walker=1",
        UserData="hello",
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )
    token, leaves = seen.token(), {}
    folders = ["/2021-03-23/meta-data/", "/2021-03-23/dynamic/"]
    while folders:
        folder = folders.pop()
        listed = seen.ask(folder, **{TOKEN: token})
        assert listed.status_code == 200, folder
        for line in listed.text.splitlines():
            ident, equals, name = line.partition("=")
            if line.endswith("/"):
                folders.append(folder + quote(line, safe="/:"))
                continue
            place = f"{ident}/openssh-key" if equals and ident.isdigit() else line
            found = seen.ask(folder + quote(place, safe="/:"), **{TOKEN: token})
            assert found.status_code == 200, folder + place
            leaves[folder.split("/", 2)[2] + (name if place != line else line)] = found.text
    assert {key: leaves[f"meta-data/tags/instance/{key}"] for key in tags} == tags
    assert leaves["meta-data/public-keys/walker=1"].startswith("ssh-ed25519 ")
    assert leaves["dynamic/fws/instance-monitoring"] == "disabled"
    mac = leaves["meta-data/mac"]
    for key in ("device-number", "network-card"):
        assert leaves[f"meta-data/network/interfaces/macs/{mac}/{key}"] == "0"
    assert len(leaves) > 45
    ec2.delete_key_pair(KeyName="walker=1")


@pytest.mark.parametrize(("kind", "system"), [("t3.micro", "nitro"), ("t2.micro", "xen"), ("m5.metal", "nitro")])
def test_the_tree_tells_what_the_instance_runs_on(
    ec2: Client, launch: Callable[..., Seen], kind: str, system: str
) -> None:
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    seen = launch(ImageId=images[0]["ImageId"], InstanceType=kind, InstanceMarketOptions={"MarketType": "spot"})
    assert (seen.read("system"), seen.read("instance-life-cycle")) == (system, "spot")
    for absent in ("spot/instance-action", "spot/termination-time", "events/recommendations/rebalance"):
        assert seen.ask(f"/latest/meta-data/{absent}", **{TOKEN: seen.token()}).status_code == 404  # nobody interrupts
    assert launch().read("instance-life-cycle") == "on-demand"


def test_folders_are_listed_with_and_without_a_slash(launch: Callable[..., Seen]) -> None:
    seen = launch()
    top = seen.read("").split("\n")
    assert top == sorted(top)
    assert {"ami-id", "block-device-mapping/", "network/", "placement/", "services/"} <= set(top)
    assert seen.read("placement").split("\n") == seen.read("placement/").split("\n")
    assert seen.read("network/interfaces/macs/") == seen.read("mac") + "/"
    assert seen.ask("/latest/", **{TOKEN: seen.token()}).text.split("\n") == ["dynamic", "meta-data"]
    answer = seen.ask("/", **{TOKEN: seen.token()})
    assert answer.text.split("\n")[0] == "1.0"
    assert answer.text.split("\n")[-1] == "latest"
    assert seen.ask("/2021-03-23/meta-data/instance-id", **{TOKEN: seen.token()}).status_code == 200
    assert seen.ask("/2021-03-24/meta-data/instance-id", **{TOKEN: seen.token()}).status_code == 404


def test_tokens_are_for_one_instance_and_for_a_while(launch: Callable[..., Seen]) -> None:
    seen, other = launch(), launch()
    for given, status in (("0", 400), ("21601", 400), ("x", 400), ("0" * 9 + "99999", 400), ("1", 200), ("21600", 200)):
        assert seen.ask("/latest/api/token", "PUT", **{TTL: given}).status_code == status, given
    assert seen.ask("/latest/api/token", "PUT").status_code == 400
    assert seen.ask("/latest/api/token", "GET").status_code == 405
    assert seen.ask("/latest/meta-data/", "POST").status_code == 405
    for path, allowed in (("meta-data/", "GET, HEAD, OPTIONS"), ("api/token", "OPTIONS, PUT")):
        told = seen.ask(f"/latest/{path}", "OPTIONS")
        assert (told.status_code, told.headers["Allow"]) == (200, allowed)
    forwarded = seen.ask("/latest/api/token", "PUT", **{TTL: "60", "X-Forwarded-For": "10.0.0.1"})
    assert forwarded.status_code == 403
    token = seen.token()
    assert seen.ask("/latest/meta-data/", **{TOKEN: token}).status_code == 200
    assert other.ask("/latest/meta-data/", **{TOKEN: token}).status_code == 401
    assert seen.ask("/latest/meta-data/", **{TOKEN: token[:-4] + "AAAA"}).status_code == 401
    brief = seen.token(1)
    deadline = time.monotonic() + 60
    while seen.ask("/latest/meta-data/", **{TOKEN: brief}).status_code != 401:
        assert time.monotonic() < deadline, "a token of one second is still good after sixty"


def test_the_options_decide_who_is_answered(ec2: Client, launch: Callable[..., Seen]) -> None:
    seen = launch(
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web one"}]}],
    )
    id = seen.instance["InstanceId"]  # type: ignore[attr-defined]
    assert seen.ask("/latest/meta-data/instance-id").status_code == 401
    assert seen.read("tags/instance/") == "Name"
    assert seen.read("tags/instance/Name") == "web one"
    ec2.create_tags(Resources=[id], Tags=[{"Key": "Stage", "Value": "test"}])
    assert seen.read("tags/instance") == "Name\nStage"
    with pytest.raises(ClientError, match="'a/b' is not a valid tag key"):
        ec2.create_tags(Resources=[id], Tags=[{"Key": "More", "Value": ""}, {"Key": "a/b", "Value": ""}])
    assert seen.read("tags/instance") == "Name\nStage"
    wait(ec2, "instance_running", InstanceIds=[id])
    ec2.modify_instance_metadata_options(InstanceId=id, HttpTokens="optional", InstanceMetadataTags="disabled")
    assert seen.ask("/latest/meta-data/instance-id").text == id
    assert seen.ask("/latest/meta-data/tags/instance").status_code == 404
    ec2.create_tags(Resources=[id], Tags=[{"Key": "a/b", "Value": "is a name now"}])
    ec2.modify_instance_metadata_options(InstanceId=id, HttpEndpoint="disabled")
    assert seen.ask("/latest/meta-data/instance-id").status_code == 403
    assert seen.ask("/latest/api/token", "PUT", **{TTL: "60"}).status_code == 403


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"HttpPutResponseHopLimit": 0}, "Name"),
        ({"HttpPutResponseHopLimit": 65}, "Name"),
        ({"InstanceMetadataTags": "enabled"}, "two words"),
        ({"InstanceMetadataTags": "enabled"}, "a/b"),
        ({"InstanceMetadataTags": "enabled"}, "_index"),
    ],
)
def test_options_that_cannot_be_are_refused(launch: Callable[..., Seen], options: dict[str, Any], key: str) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": ""}]}]
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        launch(MetadataOptions=options, TagSpecifications=tags)


def test_the_key_pair_stays_when_it_is_deleted(ec2: Client, launch: Callable[..., Seen]) -> None:
    ec2.create_key_pair(KeyName="door", KeyType="ed25519")
    seen = launch(KeyName="door")
    assert seen.read("public-keys/") == "0=door"
    assert seen.read("public-keys/0/") == "openssh-key"
    before = seen.read("public-keys/0/openssh-key")
    assert before.startswith("ssh-ed25519 ")
    ec2.delete_key_pair(KeyName="door")
    assert seen.read("public-keys/0/openssh-key") == before


def test_the_identity_document_is_signed(served: Server, launch: Callable[..., Seen], tmp_path: Path) -> None:
    seen = launch()
    identity = {
        name: seen.ask(f"/latest/dynamic/instance-identity/{name}", **{TOKEN: seen.token()}).text
        for name in ("document", "signature", "pkcs7", "rsa2048")
    }
    told = json.loads(identity["document"])
    assert told["instanceId"] == seen.instance["InstanceId"]  # type: ignore[attr-defined]
    assert told["accountId"] == ACCOUNT
    certificate = served.data / "instance-identity.crt"
    for name in ("pkcs7", "rsa2048"):
        text = f"-----BEGIN PKCS7-----\n{identity[name]}\n-----END PKCS7-----\n"
        done = subprocess.run(
            ["openssl", "smime", "-verify", "-inform", "PEM", "-certfile", str(certificate), "-noverify"],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == identity["document"]
    (tmp_path / "key").write_bytes(
        subprocess.check_output(["openssl", "x509", "-in", str(certificate), "-pubkey", "-noout"])
    )
    (tmp_path / "signature").write_bytes(base64.b64decode(identity["signature"]))
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", str(tmp_path / "key"), "-signature", str(tmp_path / "signature")],
        input=identity["document"].encode(),
        check=True,
    )


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_programs_on_an_instance_sign_with_its_role(
    served: Server, ec2: Client, launch: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = new_client(served.endpoint, "iam", ACCOUNT)
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"))
    allowed = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    iam.put_role_policy(
        RoleName="worker", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allowed})
    )
    profile = iam.create_instance_profile(InstanceProfileName="worker")["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    seen = launch(IamInstanceProfile={"Name": "worker"}, MetadataOptions={"HttpTokens": "required"})
    assert seen.read("iam/security-credentials/") == "worker"
    assert json.loads(seen.read("iam/info"))["InstanceProfileArn"] == profile["Arn"]

    fetcher = InstanceMetadataFetcher(
        timeout=20, num_attempts=1, base_url=seen.base + "/", env={}, config={"ec2_metadata_v1_disabled": True}
    )
    credentials = InstanceMetadataProvider(iam_role_fetcher=fetcher).load()
    frozen = credentials.get_frozen_credentials()
    given = {"secret": frozen.secret_key, "aws_session_token": frozen.token}
    who = new_client(served.endpoint, "sts", frozen.access_key, **given).get_caller_identity()
    id = seen.instance["InstanceId"]  # type: ignore[attr-defined]
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/{id}"
    mine = new_client(served.endpoint, "ec2", frozen.access_key, **given)
    assert mine.describe_instances(InstanceIds=[id])["Reservations"]
    with pytest.raises(mine.exceptions.ClientError, match="UnauthorizedOperation"):
        mine.describe_volumes()

    # And as a program finds them by itself, from the environment.
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", seen.base)
    found = botocore.session.Session().get_credentials()
    assert found is not None
    assert found.method == "iam-role"
    assert found.access_key == frozen.access_key

    told = json.loads(seen.read("iam/security-credentials/worker"))
    assert list(told) == ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"]
    assert time.strptime(told["Expiration"], "%Y-%m-%dT%H:%M:%SZ") > time.gmtime(time.time() + 5 * 3600)

    iam.update_assume_role_policy(RoleName="worker", PolicyDocument=trust("lambda.amazonaws.com"))
    other = launch(IamInstanceProfile={"Name": "worker"})
    refused = json.loads(other.read("iam/security-credentials/worker"))
    assert refused["Code"] == "AssumeRoleUnauthorizedAccess"


PROFILED = """
provider "aws" {
  region = "us-east-1"
}
resource "aws_iam_role" "worker" {
  name = "terraformed"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = { Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }
  })
}
resource "aws_iam_instance_profile" "worker" {
  name = "terraformed"
  role = aws_iam_role.worker.name
}
data "aws_ami" "any" {
  owners      = ["amazon"]
  most_recent = true
  filter {
    name   = "architecture"
    values = ["x86_64"]
  }
}
resource "aws_instance" "worker" {
  ami                  = data.aws_ami.any.id
  instance_type        = "t3.micro"
  iam_instance_profile = aws_iam_instance_profile.worker.name
  metadata_options {
    http_tokens = "required"
  }
}
output "instance" { value = aws_instance.worker.id }
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_instance_profile_that_terraform_made(served: Server, tmp_path: Path) -> None:
    program, found = shutil.which("terraform"), mirror()
    if program is None or found is None:
        pytest.skip("terraform, or a folder with its AWS provider, is not here")
    terraform = Terraform(program, found, tmp_path / "configuration", served.endpoint, ACCOUNT)
    for file in terraform.folder.glob("*.tf"):
        file.unlink()
    terraform.provider(
        PROFILED, AWS_ENDPOINT_URL=served.endpoint, AWS_ACCESS_KEY_ID=ACCOUNT, AWS_SECRET_ACCESS_KEY="test"
    )
    terraform.run("init", "-no-color")
    terraform.run("apply", "-auto-approve", "-no-color")
    id = terraform.outputs()["instance"]
    given = json.loads(Seen(served, id).read("iam/security-credentials/terraformed"))
    keys = {"secret": given["SecretAccessKey"], "aws_session_token": given["Token"]}
    who = new_client(served.endpoint, "sts", given["AccessKeyId"], **keys).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/terraformed/{id}"
    terraform.run("plan", "-detailed-exitcode", "-no-color")
    terraform.run("destroy", "-auto-approve", "-no-color")


def test_what_is_no_request_is_refused(launch: Callable[..., Seen]) -> None:
    seen = launch()
    assert seen.ask("/latest/meta-data/" + "a" * 20000).status_code == 400
    assert seen.ask("/latest/meta-data/instance-id", "HEAD").text == ""
    nobody = seen.base.rpartition(":")
    assert requests.get(f"http://127.0.0.1:{nobody[2]}/latest/meta-data/", timeout=60).status_code == 404


def test_metadata_and_tokens_survive_a_kill(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--metadata-port", "0") as server:
        ec2 = new_client(server.endpoint, "ec2", ACCOUNT)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]
        kind = "t3.micro" if image["Architecture"] == "x86_64" else "t4g.micro"
        (made,) = ec2.run_instances(ImageId=image["ImageId"], InstanceType=kind, MinCount=1, MaxCount=1)["Instances"]
        token = Seen(server, made["InstanceId"]).token()
        server.kill()
        server.start_again()
        seen = Seen(server, made["InstanceId"])
        assert seen.ask("/latest/meta-data/instance-id", **{TOKEN: token}).text == made["InstanceId"]
