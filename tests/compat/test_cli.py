"""The command line and Nephele's own paths, as a user meets them: start, look, reset, stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from gateway import __version__
from tests.compat.conftest import new_client
from tests.server import ROOT, Server


def nephele(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        | {"XDG_DATA_HOME": "/proc/nowhere"}
        | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


# --- what is refused before anything starts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {"NEPHELE_ATUH": "soft"}, "unknown environment variable NEPHELE_ATUH; did you mean NEPHELE_AUTH?"),
        ([], {"NEPHELE_WORKERS": "never"}, "workers: "),
        (["--compute", "hyperv"], {}, "compute: there is no driver 'hyperv' in this version"),
        ([], {"EC2_VM_MANAGER": "hyperv"}, "compute: there is no driver 'hyperv' in this version"),
        (["--ephemeral", "--database-url", "sqlite:////tmp/x.db"], {}, "exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = nephele("serve", "--port", "0", *arguments, **environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_key_in_the_file_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "nephele.toml"
    file.write_text('atuh = "soft"\n')
    done = nephele("serve", "--config", str(file))
    assert done.returncode == 2
    assert "atuh; did you mean auth?" in done.stderr


def test_what_the_machine_refuses_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = nephele("serve", "--port", "0", "--data-dir", str(tmp_path / "file" / "below"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "cannot use the data folder" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = nephele("serve", "--port", str(taken.getsockname()[1]), "--data-dir", str(tmp_path / "data"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "Address already in use" in done.stderr


def test_a_database_that_cannot_be_used_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{nobody.getsockname()[1]}/x"
        away = nephele("serve", "--port", "0", "--data-dir", str(tmp_path / "away"), "--database-url", url)
    assert (away.returncode, "Traceback" in away.stderr, "secret" in away.stderr) == (1, False, False)
    assert "cannot use the database postgresql+psycopg://me:***@" in away.stderr

    (tmp_path / "newer").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "newer" / "nephele.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
        database.commit()
    newer = nephele("serve", "--port", "0", "--data-dir", str(tmp_path / "newer"))
    assert (newer.returncode, "Traceback" in newer.stderr) == (1, False)
    assert "the database has revision 9999" in newer.stderr


# --- a life ----------------------------------------------------------------------------------------------------------


def test_the_banner_tells_all_and_ends_with_ready(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data, "--auth", "soft", "--port", "0") as server:
        banner = "".join(server.banner)
        assert banner.endswith("\nReady.\n")
        assert f"Nephele {__version__}" in banner
        assert server.endpoint in banner
        assert str(data) in banner
        assert "SOFT" in banner
        assert "compute simulated, volume sparse, network simulated" in banner
        assert data.stat().st_mode & 0o077 == 0
        second = nephele("serve", "--port", "0", "--data-dir", str(data))
        assert second.returncode == 1
        assert f"another Nephele (process {server.pid}) uses the data folder" in second.stderr
    assert server.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_being_told_to_end_is_no_error(number: int, workers: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--workers", workers)
    server.process.send_signal(number)
    assert server.process.wait(timeout=60) == 0
    assert "Traceback" not in server.log.read_text()
    with pytest.raises(requests.ConnectionError):
        requests.get(server.endpoint + "/_nephele/health", timeout=60)


def test_a_request_under_way_is_finished_at_the_end(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        s3 = new_client(server.endpoint, "s3", "test")
        s3.create_bucket(Bucket="slow")
        url = s3.generate_presigned_url("put_object", Params={"Bucket": "slow", "Key": "k"})

        class Slowly:
            def __len__(self) -> int:
                return 23

            def __iter__(self) -> Iterator[bytes]:
                yield b"first half, "
                server.process.send_signal(signal.SIGTERM)
                yield b"second half"

        answer = requests.put(url, data=Slowly(), timeout=60)
        assert answer.status_code == 200
        assert server.process.wait(timeout=60) == 0
        server.start_again()
        assert s3.get_object(Bucket="slow", Key="k")["Body"].read() == b"first half, second half"


def test_state_outlives_the_server_unless_ephemeral(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        made = new_client(server.endpoint, "ec2", "test").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        server.stop()
        server.start_again()
        (vpc,) = new_client(server.endpoint, "ec2", "test").describe_vpcs(VpcIds=[made])["Vpcs"]
        assert vpc["CidrBlock"] == "10.9.0.0/16"
    with Server(tmp_path / "other", "--ephemeral") as server:
        (folder,) = re.findall(r"data\s+(\S+)", "".join(server.banner))
        assert Path(folder).is_dir()
        assert Path(folder) != tmp_path / "other"
    assert not Path(folder).exists()
    assert not (tmp_path / "other").exists()


def test_workers_share_port_and_state(tmp_path: Path, database_url: str) -> None:
    with Server(tmp_path / "data", "--workers", "2", "--database-url", database_url) as server:
        ec2 = new_client(server.endpoint, "ec2", "test")
        made = {ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"] for _ in range(4)}
        for _ in range(8):
            fresh = new_client(server.endpoint, "ec2", "test")
            assert made <= {vpc["VpcId"] for vpc in fresh.describe_vpcs()["Vpcs"]}
            fresh.close()
        assert requests.post(server.endpoint + "/_nephele/reset", timeout=60).status_code == 200
        for _ in range(8):
            fresh = new_client(server.endpoint, "ec2", "test")
            (vpc,) = fresh.describe_vpcs()["Vpcs"]
            assert vpc["IsDefault"]
            fresh.close()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--workers", "2")
    server.kill()
    # The lock is held as long as any worker lives: a new server starts as soon as they are gone.
    for _ in range(200):
        try:
            Server(server.data).stop()
            return
        except AssertionError as error:
            assert "uses the data folder" in str(error)
    pytest.fail("the workers of a killed server live on")


# --- keys ------------------------------------------------------------------------------------------------------------


def identity(endpoint: str, key: str, secret: str) -> str:
    sts = new_client(endpoint, "sts", key, secret=secret)
    account: str = sts.get_caller_identity()["Account"]
    return account


def test_on_loopback_test_and_twelve_digits_are_roots(server: Server, account: str) -> None:
    assert identity(server.endpoint, "test", "test") == "000000000000"
    assert identity(server.endpoint, account, "test") == account


def test_on_other_addresses_a_root_key_is_made_and_shown_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data, "--host", "0.0.0.0") as server:
        shown = dict(re.findall(r"(AWS_\w+)=(\S+)", "".join(server.banner)))
        key, secret = shown["AWS_ACCESS_KEY_ID"], shown["AWS_SECRET_ACCESS_KEY"]
        assert identity(server.endpoint, key, secret) == "000000000000"
        for wrong in ("test", "111111111111"):
            with pytest.raises(ClientError, match="InvalidClientTokenId"):
                identity(server.endpoint, wrong, "test")
        reset = server.endpoint + "/_nephele/reset"
        assert requests.post(reset, timeout=60).status_code == 401
        assert requests.post(reset, auth=(key, secret), timeout=60).status_code == 200
        server.stop()
        server.start_again()
        assert secret not in "".join(server.banner)
        assert identity(server.endpoint, key, secret) == "000000000000"
        assert (data / "root-key.json").stat().st_mode & 0o077 == 0
        environment = nephele("env", NEPHELE_HOST="0.0.0.0", NEPHELE_DATA_DIR=str(data)).stdout
        assert f"export AWS_SECRET_ACCESS_KEY={secret}" in environment


def test_given_root_keys_name_their_accounts(tmp_path: Path) -> None:
    environment = {
        "NEPHELE_ROOT_KEYS": "ALPHA:one,BETA:two:123456789012",
        "AWS_ACCESS_KEY_ID": "GAMMA",
    }
    with Server(tmp_path / "data", environment=environment) as server:
        assert identity(server.endpoint, "ALPHA", "one") == "000000000000"
        assert identity(server.endpoint, "BETA", "two") == "123456789012"


# --- Nephele's own paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_nephele/health", "/_localstack/health", "/health"])
def test_health(path: str, endpoint: str) -> None:
    answer = requests.get(endpoint + path, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["version"] == __version__
    assert {"s3", "ec2", "iam", "sts"} <= answer.json()["services"].keys()


def test_metrics_count_what_was_asked(endpoint: str, client: Callable[..., Any]) -> None:
    def asked() -> float:
        page = requests.get(endpoint + "/metrics", timeout=60)
        assert page.headers["content-type"].startswith("text/plain")
        found = re.search(
            r'^nephele_requests_total\{operation="DescribeRegions",service="ec2",status="200"\} (\S+)$', page.text, re.M
        )
        return float(found[1]) if found else 0.0

    before = asked()
    client("ec2").describe_regions()
    assert asked() == before + 1


def test_a_request_is_one_line_of_the_log(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--log-format", "json") as server:
        iam = new_client(server.endpoint, "iam", "123456789012")
        request_id = iam.list_users()["ResponseMetadata"]["RequestId"]
        server.stop()
    (line,) = [json.loads(line) for line in server.log.read_text().splitlines() if "ListUsers" in line]
    assert line["id"] == request_id
    assert line["operation"] == "iam:ListUsers"
    assert line["principal"] == "arn:aws:iam::123456789012:root"
    assert line["status"] == 200
    assert 0 < line["ms"] < 10_000


def test_a_bucket_may_be_called_health(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        s3 = new_client(server.endpoint, "s3", "test")
        for name in ("health", "metrics", "moto-api"):
            s3.create_bucket(Bucket=name)
            s3.put_object(Bucket=name, Key="reset", Body=b"kept")
            assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 1
            assert s3.get_object(Bucket=name, Key="reset")["Body"].read() == b"kept"


@pytest.mark.parametrize("path", ["/_nephele/reset", "/_localstack/state/reset", "/moto-api/reset", "//moto-api/reset"])
def test_reset_of_everything(path: str, tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        iam, s3 = (new_client(server.endpoint, service, "111111111111") for service in ("iam", "s3"))
        iam.create_user(UserName="ada")
        s3.create_bucket(Bucket="gone")
        s3.put_object(Bucket="gone", Key="k", Body=b"x" * 100_000)
        assert requests.post(server.endpoint + path, timeout=60).status_code == 200
        assert iam.list_users()["Users"] == []
        assert s3.list_buckets()["Buckets"] == []
        s3.create_bucket(Bucket="gone")


def test_reset_of_one_account_leaves_the_others(endpoint: str, client: Callable[..., Any], account: str) -> None:
    other = str(int(account) ^ 1)
    for each in (account, other):
        client("iam", account=each).create_user(UserName="ada")
        client("ec2", account=each).create_vpc(CidrBlock="10.7.0.0/16")
        client("s3", account=each).create_bucket(Bucket=f"of-{each}")
        client("s3", account=each).put_object(Bucket=f"of-{each}", Key="k", Body=b"x")
    assert nephele("reset", "--endpoint", endpoint, "--account", account).stdout == f"Reset account {account}.\n"
    assert client("iam").list_users()["Users"] == []
    assert [vpc["IsDefault"] for vpc in client("ec2").describe_vpcs()["Vpcs"]] == [True]
    assert client("s3").list_buckets()["Buckets"] == []
    assert [user["UserName"] for user in client("iam", account=other).list_users()["Users"]] == ["ada"]
    assert len(client("ec2", account=other).describe_vpcs()["Vpcs"]) == 2
    assert client("s3", account=other).get_object(Bucket=f"of-{other}", Key="k")["Body"].read() == b"x"


def test_named_buckets_are_there_from_the_beginning(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environment={"S3_BUCKET": "one,two", "AWS_DEFAULT_REGION": "eu-west-1"}) as server:
        s3 = new_client(server.endpoint, "s3", "test", region="eu-west-1")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["one", "two"]
        assert s3.get_bucket_location(Bucket="two")["LocationConstraint"] == "eu-west-1"
        server.stop()
        server.start_again()
        assert len(s3.list_buckets()["Buckets"]) == 2


def test_a_bucket_name_that_cannot_be_is_said_at_start(tmp_path: Path) -> None:
    done = nephele("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), S3_BUCKET="No_Bucket")
    assert done.returncode == 3
    assert "buckets: InvalidBucketName" in done.stderr
    assert "Ready." not in done.stdout


def test_localstack_can_end_it(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        answer = requests.post(server.endpoint + "/_localstack/health", json={"action": "kill"}, timeout=60)
        assert answer.status_code == 200
        assert server.process.wait(timeout=60) == 0


# --- companions ------------------------------------------------------------------------------------------------------


def test_version() -> None:
    assert nephele("version").stdout == f"{__version__}\n"


def test_env_is_what_a_shell_evaluates(server: Server, account: str) -> None:
    exports = nephele("env", "--account", account, NEPHELE_PORT=str(server.port)).stdout
    script = f'{exports}\n"$PYTHON" -W ignore -m awscli sts get-caller-identity --query Account --output text'
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, timeout=300
    )
    assert (done.stdout, done.stderr) == (account + "\n", "")


def test_status_of_a_server_and_of_none(server: Server) -> None:
    done = nephele("status", "--endpoint", server.endpoint)
    assert done.returncode == 0
    assert __version__ in done.stdout
    assert "compute simulated" in done.stdout
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        done = nephele("status", "--endpoint", f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "no Nephele answers" in done.stderr


def test_aws_runs_the_aws_cli_at_the_endpoint(server: Server) -> None:
    done = nephele(
        "aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text", NEPHELE_PORT=str(server.port)
    )
    assert (done.stdout, done.returncode) == ("000000000000\n", 0)


def test_s3_control_is_reached_by_the_aws_cli(server: Server) -> None:
    names = ("s3control", "list-jobs", "--account-id", "000000000000", "--query", "Jobs[?JobId=='none']")
    done = nephele("aws", *names, "--output", "json", NEPHELE_PORT=str(server.port))
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_operations_in_three_shapes() -> None:
    lines = nephele("operations").stdout.splitlines()
    assert "sts:GetCallerIdentity" in lines
    listed = json.loads(nephele("operations", "--json").stdout)
    assert sorted(f"{service}:{name}" for service, names in listed.items() for name in names) == lines
    only = nephele("operations", "--service", "sts").stdout.splitlines()
    assert only == [line for line in lines if line.startswith("sts:")]
