"""How far a snapshot is, while its bytes are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.db import Scope
from backends.volume import capture as capturing
from backends.volume.drivers.sparse import SparseFiles, copy_sparse
from backends.volume.host import VolumeHost
from backends.volume.lifecycle import converge
from backends.volume.models import Disk, Snapshot, SnapshotState
from backends.volume.service import VolumeService
from tests.unit.fresh import fresh_database

HERE = Scope("tenant", "here")
MIB = 1 << 20


def test_a_copy_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.volume.drivers.sparse.FICLONE", 0)  # as where no extents can be shared
    (tmp_path / "source").write_bytes(b"x" * 4 * MIB)
    told: list[int] = []
    with (tmp_path / "target").open("wb") as file:
        copy_sparse(tmp_path / "source", file.fileno(), told.append)
    assert told == [25, 50, 75, 100] and (tmp_path / "target").read_bytes() == b"x" * 4 * MIB


@pytest.mark.parametrize("copied", [False, True])
def test_it_is_written_down_while_the_driver_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    monkeypatch.setattr(capturing, "OFTEN", 0.0)
    database = fresh_database(tmp_path)
    host = VolumeHost(SparseFiles(tmp_path / "volumes"))
    seen: list[tuple[str, int]] = []

    def look(id: str) -> None:
        with database.unit(None, write=False) as unit:
            row = unit.session.get_one(Snapshot, id)
            seen.append((row.state, row.progress))

    def tell(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(self: Any, first: Any, *rest: Any) -> Any:
            for id in first if isinstance(first, Mapping) else (first,):
                for percent in (10, 60, 100):
                    rest[-1](id, percent)
                    look(id)
            return real(self, first, *rest)

        return work

    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_disk(id="vol-1", zone="a", size=1, kind="gp3")
    converge(database, host)
    if not copied:
        monkeypatch.setattr(SparseFiles, "ensure_snapshots", tell(SparseFiles.ensure_snapshots))
    monkeypatch.setattr(SparseFiles, "ensure_copy", tell(SparseFiles.ensure_copy))
    with database.unit(HERE, write=True) as unit:
        disk = unit.session.get_one(Disk, "vol-1")
        VolumeService(unit).add_snapshot(id="snap-1", disk=disk, description="")
    converge(database, host)
    if copied:
        with database.unit(HERE, write=True) as unit:
            parent = unit.session.get_one(Snapshot, "snap-1")
            VolumeService(unit).copy_snapshot(id="snap-2", parent=parent, description="", encrypted=False, key=None)
        converge(database, host)
    assert seen == [(SnapshotState.PENDING, percent) for percent in (10, 60, 99)]
    with database.unit(None, write=False) as unit:
        assert unit.session.get_one(Snapshot, "snap-2" if copied else "snap-1").state == SnapshotState.COMPLETED
    database.close()
