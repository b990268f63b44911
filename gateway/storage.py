"""Where the bytes of objects lie, by the settings; for the server, and for commands that look after them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends import schema
from backends.db import Database
from backends.errors import NativeError
from backends.identity.seal import KEY_FILE, Seal
from backends.object import chores
from backends.object.audit import Auditor
from backends.object.contents import Contents
from backends.object.drivers.base import BlobDriver
from backends.object.drivers.files import FileBlobs
from backends.object.ledger import Ledger
from backends.object.sweep import Sweeper
from compat.tables import load_tables
from gateway.settings import Settings, SettingsError

GRACE = 900.0
"""Seconds for which a blob may belong to somebody else who is about to publish it."""


def open_blobs(settings: Settings, database: Database) -> BlobDriver:
    """The driver of blobs that the settings name. Raises `SettingsError` where the engine cannot be used."""
    if settings.objects == "files":
        files = FileBlobs(settings.data_dir / "objects")
        if settings.is_alone:
            files.tidy()
        return files
    with contextlib.closing(Ledger(database)) as ledger:
        return _open_engine(settings, ledger)


def grace(settings: Settings) -> float:
    """What the sweeper waits, in seconds: nothing where no other process can work on the store."""
    return 0.0 if settings.is_alone and settings.objects == "files" else GRACE


def _open_engine(settings: Settings, ledger: Ledger) -> BlobDriver:
    from backends.object.drivers.s3 import S3Blobs

    assert settings.objects_endpoint and settings.objects_bucket
    assert settings.objects_access_key and settings.objects_secret_key
    where = f"{settings.objects_endpoint}/{settings.objects_bucket}/{settings.objects_prefix}"
    try:
        engine = S3Blobs(
            settings.objects_endpoint,
            settings.objects_bucket,
            access_key=settings.objects_access_key,
            secret_key=settings.objects_secret_key,
            region=settings.objects_region,
            prefix=settings.objects_prefix,
        )
        mine = identity(ledger)
        _check_key(settings.data_dir, ledger)
        owner = engine.claim(mine)
        engine.tidy()
    except NativeError as fault:
        raise SettingsError(f"objects_endpoint: {where} cannot be used: {fault}") from fault
    if owner != mine:
        raise SettingsError(
            f"objects_prefix: {where} is the store of another database; gateways that share a store share its "
            "database, too (database_url)"
        )
    return engine


def _check_key(folder: Path, ledger: Ledger) -> None:
    """Gateways that share a store need the same key: with another one, none could read what the others wrote."""
    mark = Seal.at(folder).derive("mark of the store").hex()[:16]
    known = chores.recall(ledger.read(), "key")
    if not known:
        ledger.write(lambda tx: chores.note(tx, "key", {"mark": mark}))
    elif known["mark"] != mark:
        raise SettingsError(
            f"data_dir: {folder}/{KEY_FILE} is not the key of this store; copy that file from the data folder of a "
            "gateway which uses the store already"
        )


def identity(ledger: Ledger) -> str:
    """What tells this database's store from others; made when it is first asked for."""
    known = chores.recall(ledger.read(), "store")
    if not known:
        made = {"id": secrets.token_hex(16)}
        ledger.write(lambda tx: chores.note(tx, "store", made))
        known = chores.recall(ledger.read(), "store")
    found: str = known["id"]
    return found


@dataclass(frozen=True, slots=True)
class Store:
    """An object store that is looked after from outside of a server."""

    ledger: Ledger
    driver: BlobDriver

    def auditor(self) -> Auditor:
        """What reads every byte again."""
        return Auditor(self.ledger, self.driver)

    def sweeper(self, grace: float) -> Sweeper:
        """What removes what nobody knows."""
        return Sweeper(self.ledger, Contents(self.driver), grace=grace)


@contextlib.contextmanager
def existing(settings: Settings) -> Iterator[Store]:
    """The store of these settings, beside its server if that runs. Raises `SettingsError` where there is none."""
    if settings.database_url is None and not Path(settings.data_dir / "nephele.db").exists():
        raise SettingsError(f"data_dir: there is no Nephele in {settings.data_dir}")
    database = Database(settings.database)
    ledger = Ledger(database)
    try:
        schema.prepare(database, models=load_tables)
        # Not as the only process: a server may be writing in this folder now.
        driver = open_blobs(settings.model_copy(update={"workers": 2}), database)
        try:
            yield Store(ledger, driver)
        finally:
            driver.close()
    finally:
        ledger.close()
        database.close()
