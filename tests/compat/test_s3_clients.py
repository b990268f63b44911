"""Programs and libraries that people use S3 with, each as its registry has it: they find what they need here."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.server import ROOT, Server

pytestmark = pytest.mark.embedded
Client = Any
MIB = 1 << 20
INSTALLED = ROOT / ".clients"


def need(program: str, package: str) -> str:
    """A program's path; without it the test is skipped, in words."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (apt-get install {package})")
    return path


def call(*command: str | Path, cwd: Path | None = None, status: int = 0, **environment: str) -> str:
    """Run a program; what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def bucket(client: Callable[..., Client], account: str) -> str:
    name = f"clients-{account}"
    client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several sizes and odd names."""
    tree = tmp_path / "tree"
    for name, content in {
        "plain.txt": b"plain\n",
        "empty": b"",
        "folder/with space+plus%.bin": os.urandom(70_000),
        "folder/deep/ümlaut.txt": b"\xff" * 1000,
        "large.bin": os.urandom(17 * MIB),
    }.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tree


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_s3cmd(
    server: Server, account: str, bucket: str, tree: Path, tmp_path: Path, client: Callable[..., Client]
) -> None:
    program = need("s3cmd", "s3cmd")
    # Its copies set an ACL, which S3 refuses where the owner owns all.
    rules = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    client("s3").put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)
    config = tmp_path / "s3cfg"
    place = urlsplit(server.endpoint).netloc
    config.write_text(
        f"[default]\naccess_key = {account}\nsecret_key = test\nhost_base = {place}\nhost_bucket = {place}\n"
        "use_https = False\nsignature_v2 = False\nmultipart_chunk_size_mb = 5\n"
    )

    def s3cmd(*arguments: str | Path) -> str:
        return call(program, "-c", config, *arguments)

    s3cmd("sync", f"{tree}/", f"s3://{bucket}/tree/")
    assert "upload:" not in s3cmd("sync", f"{tree}/", f"s3://{bucket}/tree/")
    (tree / "plain.txt").unlink()
    s3cmd("sync", "--delete-removed", f"{tree}/", f"s3://{bucket}/tree/")
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", f"s3://{bucket}/tree/", f"{back}/")
    assert contents(back) == contents(tree)
    s3cmd("cp", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/copy")
    s3cmd("mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved")
    assert f"s3://{bucket}/moved" in s3cmd("ls", f"s3://{bucket}")
    assert "File size: 17825792" in s3cmd("info", f"s3://{bucket}/moved")
    s3cmd("setpolicy", _policy(tmp_path, bucket), f"s3://{bucket}")
    assert "Principal" in s3cmd("info", f"s3://{bucket}")
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}")
    s3cmd("rb", f"s3://{bucket}")


def _policy(folder: Path, bucket: str) -> Path:
    file = folder / "policy.json"
    file.write_text(
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject",'
        f'"Resource":"arn:aws:s3:::{bucket}/*","Condition":{{"IpAddress":{{"aws:SourceIp":"127.0.0.0/8"}}}}}}]}}'
    )
    return file


def test_rclone(server: Server, account: str, bucket: str, tree: Path, tmp_path: Path) -> None:
    program = need("rclone", "rclone")
    remote = {
        "RCLONE_CONFIG": str(tmp_path / "none"),
        "RCLONE_CONFIG_HERE_TYPE": "s3",
        "RCLONE_CONFIG_HERE_PROVIDER": "Minio",
        "RCLONE_CONFIG_HERE_ACCESS_KEY_ID": account,
        "RCLONE_CONFIG_HERE_SECRET_ACCESS_KEY": "test",
        "RCLONE_CONFIG_HERE_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_HERE_REGION": "us-east-1",
        # This rclone always names an ACL; where the owner owns all, S3 takes this one only.
        "RCLONE_CONFIG_HERE_ACL": "bucket-owner-full-control",
        "RCLONE_CONFIG_HERE_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_HERE_CHUNK_SIZE": "5M",
        "RCLONE_CONFIG_HERE_UPLOAD_CUTOFF": "8M",
    }

    def rclone(*arguments: str | Path, status: int = 0) -> str:
        return call(program, *arguments, status=status, **remote)

    place = f"here:{bucket}/tree"
    rclone("sync", tree, place)
    rclone("check", tree, place)
    rclone("check", "--download", tree, place)
    (tree / "plain.txt").write_bytes(b"other\n")
    (tree / "empty").unlink()
    rclone("check", tree, place, status=1)
    rclone("sync", tree, place)
    rclone("check", tree, place)
    rclone("copy", place, f"here:{bucket}/again")
    rclone("check", place, f"here:{bucket}/again")
    rclone("sync", f"here:{bucket}/again", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)
    rclone("purge", f"here:{bucket}")


def test_restic(server: Server, account: str, bucket: str, tree: Path, tmp_path: Path) -> None:
    program = need("restic", "restic")

    def restic(*arguments: str | Path) -> str:
        return call(
            program,
            "--no-cache",
            *arguments,
            AWS_ACCESS_KEY_ID=account,
            AWS_SECRET_ACCESS_KEY="test",
            RESTIC_REPOSITORY=f"s3:{server.endpoint}/{bucket}/backups",
            RESTIC_PASSWORD="password",
            HOME=str(tmp_path),
        )

    restic("init")
    restic("backup", tree)
    (tree / "plain.txt").write_bytes(b"changed\n")
    restic("backup", tree)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "back")
    assert contents(tmp_path / "back" / tree.relative_to("/")) == contents(tree)
    restic("forget", "--keep-last", "1", "--prune")
    restic("check")


def test_s3fs(server: Server, account: str, bucket: str, tree: Path, tmp_path: Path) -> None:
    program = need("s3fs", "s3fs")
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("s3fs needs /dev/fuse, which this user may not open")
    keys, mount = tmp_path / "keys", tmp_path / "mount"
    keys.write_text(f"{account}:test\n")
    keys.chmod(0o600)
    mount.mkdir()
    options = f"url={server.endpoint},use_path_request_style,passwd_file={keys},endpoint=us-east-1,multipart_size=5"
    try:
        call(program, bucket, mount, "-o", options)
    except AssertionError as error:
        if "fuse" in str(error).lower() or "permitted" in str(error):
            pytest.skip(f"s3fs cannot mount here: {error}")
        raise
    try:
        shutil.copytree(tree, mount / "tree")
        assert contents(mount / "tree") == contents(tree)
        os.rename(mount / "tree" / "plain.txt", mount / "tree" / "renamed.txt")
        with (mount / "tree" / "renamed.txt").open("ab") as file:
            file.write(b"more")
        assert (mount / "tree" / "renamed.txt").read_bytes() == b"plain\nmore"
        assert sorted(path.name for path in (mount / "tree").iterdir()) == [
            "empty",
            "folder",
            "large.bin",
            "renamed.txt",
        ]
        shutil.rmtree(mount / "tree")
        assert list(mount.iterdir()) == []
    finally:
        call("fusermount", "-u", mount)


def test_javascript(server: Server, account: str) -> None:
    node = need("node", "nodejs npm")
    if not (INSTALLED / "node_modules" / "@aws-sdk" / "client-s3").exists():
        pytest.skip("the JavaScript SDK is not installed (make test does: npm install into .clients)")
    walk = ROOT / "tests" / "compat" / "s3_clients" / "walk.mjs"
    told = call(
        node,
        walk,
        NODE_FOLDER=str(INSTALLED),
        AWS_ENDPOINT_URL=server.endpoint,
        AWS_ACCESS_KEY_ID=account,
        AWS_SECRET_ACCESS_KEY="test",
        BUCKET=f"javascript-{account}",
    )
    assert told == "walked\n"


@pytest.fixture
def minio(server: Server, account: str) -> Iterator[Any]:
    library = pytest.importorskip("minio", reason="minio-py is not installed")
    import urllib3

    pool = urllib3.PoolManager(retries=False)
    place = urlsplit(server.endpoint).netloc
    yield library.Minio(place, account, "test", secure=False, region="us-east-1", http_client=pool)
    pool.clear()


def test_minio_py(minio: Any, bucket: str, tmp_path: Path) -> None:
    from minio.commonconfig import CopySource, Tags
    from minio.deleteobjects import DeleteObject
    from minio.error import S3Error
    from minio.versioningconfig import ENABLED, VersioningConfig

    assert [one.name for one in minio.list_buckets()] == [bucket]
    data = os.urandom(12 * MIB)
    minio.put_object(bucket, "ä b+/large", io.BytesIO(data), len(data), part_size=5 * MIB, metadata={"one": "1"})
    minio.put_object(bucket, "unknown", io.BytesIO(data), -1, part_size=5 * MIB)
    for key in ("ä b+/large", "unknown"):
        with contextlib.closing(minio.get_object(bucket, key)) as answer:
            assert answer.read() == data
            answer.release_conn()
    stat = minio.stat_object(bucket, "ä b+/large")
    assert (stat.size, stat.metadata["x-amz-meta-one"]) == (len(data), "1")
    minio.fget_object(bucket, "unknown", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == data
    minio.copy_object(bucket, "copy", CopySource(bucket, "ä b+/large"))
    tags = Tags.new_object_tags()
    tags["k"] = "v"
    minio.set_object_tags(bucket, "copy", tags)
    assert minio.get_object_tags(bucket, "copy") == {"k": "v"}
    minio.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    minio.put_object(bucket, "copy", io.BytesIO(b"new"), 3)
    assert len(list(minio.list_objects(bucket, prefix="copy", include_version=True))) == 2
    assert {one.object_name for one in minio.list_objects(bucket)} == {"ä b+/", "unknown", "copy"}
    with pytest.raises(S3Error) as caught:
        minio.stat_object(bucket, "nothing")
    assert caught.value.code == "NoSuchKey"
    every = [
        DeleteObject(one.object_name, one.version_id)
        for one in minio.list_objects(bucket, recursive=True, include_version=True)
    ]
    assert list(minio.remove_objects(bucket, every)) == []
    minio.remove_bucket(bucket)


def test_pyarrow(server: Server, account: str, bucket: str) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import dataset, fs, parquet

    place = urlsplit(server.endpoint).netloc
    s3 = fs.S3FileSystem(
        access_key=account, secret_key="test", endpoint_override=place, scheme="http", region="us-east-1"
    )
    table = pyarrow.table({"n": list(range(100_000)), "kind": ["even", "odd"] * 50_000})
    parquet.write_table(table, f"{bucket}/one.parquet", filesystem=s3)
    assert parquet.read_table(f"{bucket}/one.parquet", filesystem=s3).equals(table)
    dataset.write_dataset(table, f"{bucket}/parts", format="parquet", partitioning=["kind"], filesystem=s3)
    found = dataset.dataset(f"{bucket}/parts", partitioning=["kind"], filesystem=s3)
    assert found.count_rows(filter=dataset.field("kind") == "odd") == 50_000
    with s3.open_output_stream(f"{bucket}/large") as stream:
        for _ in range(12):
            stream.write(bytes(MIB))
    assert s3.get_file_info(f"{bucket}/large").size == 12 * MIB
    with s3.open_input_file(f"{bucket}/one.parquet") as file:
        file.seek(file.size() - 4)
        assert file.read() == b"PAR1"
    s3.copy_file(f"{bucket}/large", f"{bucket}/copy")
    s3.delete_dir_contents(bucket)
    assert s3.get_file_info(fs.FileSelector(bucket)) == []


def test_duckdb(server: Server, account: str, bucket: str, client: Callable[..., Client]) -> None:
    packages = INSTALLED / "duckdb"
    if not (packages / "duckdb_extension_httpfs").exists():
        pytest.skip("DuckDB and its extension httpfs are not installed (make clients)")
    client("s3").put_object(Bucket=bucket, Key="some.csv", Body=b"a,b\n1,x\n2,y\n")
    script = Path(__file__).parent / "s3_clients" / "duck.py"
    call(sys.executable, script, packages, urlsplit(server.endpoint).netloc, account, bucket)
    words = client("s3").head_object(Bucket=bucket, Key="words.csv")
    assert words["ContentLength"] > 10 * MIB
    assert "-" in words["ETag"], "it was not uploaded in parts"
