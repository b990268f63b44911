"""Events and errands: one that goes wrong does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.errors import DriverError
from backends.object.outbox import Errand, Outbox, Told
from tests.unit.object_worlds import MemoryBlobs, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(f"sqlite:///{tmp_path / 'index.db'}", MemoryBlobs())
    yield made
    made.close()


@pytest.mark.parametrize("fault", [DriverError("away"), ValueError("nobody thought of this")])
def test_one_that_fails_waits_and_the_others_go_on(
    world: World, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, moment = world.store.ledger, datetime.now(UTC)
    monkeypatch.setattr(world.database, "clock", lambda: moment)
    outbox, seen = Outbox(world.database, ledger, sends=True), list[str]()
    for name in ("bad", "good"):
        ledger.write(lambda tx, name=name: outbox.order(tx, "t", 1, name.encode(), "v", "kind", "", 0))  # type: ignore[misc]
        ledger.write(lambda tx, name=name: outbox.tell(tx, "t", "box", name, "{}", 0))  # type: ignore[misc]

    def do(errand: Errand) -> None:
        seen.append(errand.key.decode())
        if errand.key == b"bad":
            raise fault

    def send(told: Told) -> None:
        seen.append(told.targets)
        if told.targets == "bad":
            raise fault

    outbox.run({"kind": do})
    outbox.deliver(send)
    assert seen == ["bad", "good"] * 2
    outbox.run({"kind": do})  # what failed comes again, but not at once
    outbox.deliver(send)
    assert seen == ["bad", "good"] * 2
    moment += timedelta(seconds=2)
    outbox.run({"kind": do})
    outbox.deliver(send)
    assert seen == ["bad", "good"] * 2 + ["bad"] * 2
