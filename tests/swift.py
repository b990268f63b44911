"""OpenStack Swift with its S3 API, from Debian's packages, on the loopback: one device, one replica, no keystone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {name: f"swift-{name}-server" for name in ("account", "container", "object")}
ACCESS, SECRET = "test:tester", "testing"

STORAGE = """[DEFAULT]
devices = {devices}
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_address = {folder}/log
disable_fallocate = true

[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
"""

PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_address = {folder}/log

[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin .reseller_admin

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
allow_multipart_uploads = true

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:slo]
use = egg:swift#slo
min_segment_size = 1

[filter:dlo]
use = egg:swift#dlo

[filter:copy]
use = egg:swift#copy
"""


def missing() -> str:
    """Why there is no Swift here; empty when there is."""
    needed = [*PROGRAMS.values(), "swift-proxy-server", "swift-ring-builder", "memcached"]
    lacking = [name for name in needed if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (apt-get install swift-proxy swift-account swift-container …)"
    return ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def swift(folder: Path) -> Iterator[str]:
    """A running Swift whose state is in `folder`; the URL of its S3 API. The file system must know user xattrs."""
    folder.chmod(0o755)
    devices = folder / "devices"
    (devices / "d1").mkdir(parents=True)
    os.setxattr(devices / "d1", b"user.probe", b"1")
    user = "root" if os.getuid() == 0 else os.environ.get("USER", "nobody")
    *storage, proxy, memcached = _free_ports(5)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix = p\n"
        "[storage-policy:0]\nname = gold\ndefault = yes\n"
    )
    commands = [["memcached", "-l", "127.0.0.1", "-p", str(memcached), "-U", "0", "-u", user]]
    for (name, program), port in zip(PROGRAMS.items(), storage, strict=True):
        config = folder / f"{name}.conf"
        config.write_text(STORAGE.format(name=name, port=port, devices=devices, user=user, folder=folder))
        ring = folder / f"{name}.builder"
        build = ["swift-ring-builder", str(ring)]
        for step in (["create", "4", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
            subprocess.run([*build, *step], check=True, capture_output=True)
        commands.append([program, str(config)])
    (folder / "proxy.conf").write_text(PROXY.format(port=proxy, user=user, folder=folder, memcached=memcached))
    commands.append(["swift-proxy-server", str(folder / "proxy.conf")])
    endpoint = f"http://127.0.0.1:{proxy}"
    running: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"SWIFT_CONF_FILE": str(folder / "swift.conf")}
    with (folder / "out").open("wb") as out:
        try:
            for command in commands:
                running.append(subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out))
            for port in (*storage, memcached, proxy):
                _await(port, running, folder / "out")
            yield endpoint
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(20)


def _await(port: int, running: list[subprocess.Popen[bytes]], out: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if any(process.poll() is not None for process in running) or time.monotonic() > deadline:
            raise RuntimeError(f"Swift did not start:\n{out.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
