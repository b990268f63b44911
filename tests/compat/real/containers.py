"""Containers as their owners have them at hand, and what is to be seen of them on the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from backends.compute.drivers import container_process, container_root, libvirt
from backends.network.drivers import linux
from tests.compat.real.owners import ACCOUNT, World
from tests.sandbox import unable


def able() -> None:
    """Skip, or fail, where this machine cannot run containers in real networks."""
    if missing := [f"{one.what} ({one.remedy})" for one in libvirt.lxc_lacks()] + list(linux.lacks()):
        unable("lacks " + "; ".join(missing))


@contextlib.contextmanager
def containers(request: pytest.FixtureRequest) -> Iterator[Container]:
    """The server of a test file, whose containers end with the block. Skips where this machine cannot run any."""
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    sandbox = request.getfixturevalue("sandbox")
    made = Container(request.getfixturevalue("cloud"), sandbox)
    yield made
    made.end()


class Container(World):
    """A server, and containers of its, of which one is at hand."""

    image = ""

    def launch(self, **about: Any) -> str:
        """A new container; it is at hand then."""
        if not self.image:
            self.image = self.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1]
        run = self.ec2.run_instances(ImageId=self.image, InstanceType="t2.nano", MinCount=1, MaxCount=1, **about)
        self.id = run["Instances"][0]["InstanceId"]
        return self.id

    def at(self, id: str) -> Container:
        """Have another container at hand."""
        self.id = id
        return self

    def controllers(self) -> dict[str, int]:
        """What holds containers together, by instance."""
        found: dict[str, int] = {}
        prefix = f"{self.mark}-"
        for process in container_process.everything():
            words = container_process.command(process).split("\0")
            if words[0].endswith(container_process.CONTROLLER):
                found |= {word.removeprefix(prefix): process for word in words if word.startswith(prefix)}
        return found

    def controller(self) -> int:
        """What holds the container together; 0 when it is not there."""
        return self.controllers().get(self.id, 0)

    def first(self) -> int:
        """Its first process."""
        return container_process.first_of(self.controller()) or 0

    def left(self) -> list[str]:
        """The block devices over disks of this server."""
        volumes = f"{self.cloud.data / 'volumes'}/"
        found = {device: container_root.backing(device) or "" for device in container_root.devices()}
        return [device for device, file in found.items() if file.startswith(volumes)]

    def end(self) -> None:
        """End what is there of it on the machine, whatever state a test left it in."""
        self.sandbox.end()
        for device in self.left():
            file = container_root.backing(device)
            if file is not None:
                container_root.detach(file.removesuffix(" (deleted)"))

    def networks(self) -> set[str]:
        """The networks that are there, by id."""
        prefix = f"nph-{self.mark}-"
        names = self.sandbox.run("ip", "netns", "list").stdout.split()
        return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
