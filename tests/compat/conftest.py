"""A started server, and the clients that its users have: boto3 and the AWS CLI.

Every test that asks for `server` (or for a fixture that needs it) runs over each database of the machine, unless it
is marked `embedded`. Tests share the server and keep apart by account: `account` is a fresh one for each test.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests import postgres
from tests.server import ROOT, Server

Client = Any
# One for all: reading a service's model takes longer than most tests.
SESSION = boto3.session.Session()
DATABASES = ("sqlite",) if postgres.missing() else ("sqlite", "postgresql")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        embedded = metafunc.definition.get_closest_marker("embedded") is not None
        metafunc.parametrize("server", DATABASES[:1] if embedded else DATABASES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as started:
        yield started


@pytest.fixture(scope="session")
def postgresql_server(postgresql: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data", "--database-url", postgresql.new_database()) as started:
        yield started


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """A server shared by the tests of this run. A test that stops or kills one starts its own `tests.server.Server`.

    One for each database: pytest ends a fixture whenever it gets another parameter, and these two it does not.
    """
    started: Server = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_server")
    return started


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the module's own, whose time is moved."""
    with Server(tmp_path_factory.mktemp("moving") / "data") as server:
        yield server


@pytest.fixture
def endpoint(server: Server) -> str:
    return server.endpoint


@pytest.fixture
def account() -> str:
    """A fresh account id. As an access key, with the secret `test`, it is the root of that account."""
    return str(secrets.randbelow(9 * 10**11) + 10**11)


def new_client(
    endpoint: str, service: str, key: str, *, secret: str = "test", region: str = "us-east-1", **options: Any
) -> Client:
    """A boto3 client; `options` go to `boto3.client`, except `config`, merged over path style and no retries."""
    config = Config(
        s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=60, read_timeout=100
    ).merge(options.pop("config", Config()))
    return SESSION.client(
        service,  # type: ignore[call-overload]
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=config,
        **options,
    )


@pytest.fixture
def client(server: Server, account: str) -> Iterator[Callable[..., Client]]:
    """`client("ec2", region="eu-west-1", account="…")`: a boto3 client, as the root of the test's account by default.

    `key=` and `secret=` (and `aws_session_token=`) make it somebody else's.
    """
    made: list[Client] = []

    def make(service: str, *, account: str = account, key: str | None = None, **options: Any) -> Client:
        made.append(new_client(server.endpoint, service, key or account, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def ec2(client: Callable[..., Client]) -> Client:
    return client("ec2")


@pytest.fixture
def vpc(ec2: Client) -> str:
    made: str = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return made


@pytest.fixture
def subnet(ec2: Client, vpc: str) -> str:
    made: str = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    return made


@pytest.fixture
def gateway(ec2: Client, vpc: str) -> str:
    """An internet gateway of the VPC."""
    made: str = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc)
    return made


def run_aws(
    endpoint: str,
    key: str,
    *arguments: str,
    region: str = "us-east-1",
    secret: str = "test",
    check: bool = True,
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run the AWS CLI at `endpoint`; its output is kept as text. With `check`, a failure fails the test."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "awscli", *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_OUTPUT": "json",
            "AWS_PAGER": "",
        }
        | (environment or {}),
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check and done.returncode != 0:
        pytest.fail(f"aws {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


@pytest.fixture
def aws(server: Server, account: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`aws("s3", "ls", region=…, account=…, check=…)`: the AWS CLI, as the root of the test's account by default."""

    def run(*arguments: str, account: str = account, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_aws(server.endpoint, account, *arguments, **options)

    return run
