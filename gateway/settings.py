"""Every setting, each said once: its name, its kind, its default and its meaning.

A value comes from, in this order: the command line, `NEPHELE_<NAME>` in the environment, the TOML file of `--config`
(or `NEPHELE_CONFIG`), a variable that other local clouds read (`gateway/aliases.py`), the default. What nobody knows is
refused by name, since a misspelt security switch that is ignored is worse than none.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.aliases import meant

PREFIX = "NEPHELE_"
# Read before the settings are: it names the file that holds them.
CONFIG_VARIABLE = "NEPHELE_CONFIG"

Log = Literal["debug", "info", "warning", "error", "off"]


class SettingsError(Exception):
    """Settings that cannot be used; the message has a line for each thing that is wrong, with its name."""


class StartError(Exception):
    """Why this machine cannot serve now, in words for its user."""


class RootKey(BaseModel):
    """An access key that is the root of an account. As text: `ACCESSKEY:SECRET` or `ACCESSKEY:SECRET:ACCOUNT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    access_key: str = Field(min_length=1, max_length=128, pattern=r"^[\w-]+$")
    secret_key: str = Field(min_length=1, repr=False)
    account: str | None = Field(default=None, pattern=r"^\d{12}$")


class Settings(BaseSettings):
    """How one Nephele runs. Make it with `load`, which names what is wrong; it does not change afterwards."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(4566, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("nephele"),
        description="Folder of all state. Default: `nephele` in the user's XDG data folder.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file with a certificate, its chain and its key, for clients that speak TLS. Default: one that "
        "`nephele ca` answers for.",
    )
    ephemeral: bool = Field(False, description="Keep the state in a temporary folder that goes away at the end.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer requests.")
    engine: Literal["inside", "apart"] = Field(
        "inside",
        description="Where reconcilers and drivers work: in the process that answers requests (`inside`), or in one of "
        "its own, `nephele engine`, with the privileges that they need (`apart`).",
    )
    auth: Literal["enforce", "soft", "off"] = Field(
        "enforce", description="What policies do: `enforce`, `soft` (log what would be denied) or `off`."
    )
    open_root: bool | None = Field(
        None,
        description="Whether `test` and every access key of 12 digits, with the secret `test`, are roots of an "
        "account. Default: only while listening on a loopback address.",
    )
    root_keys: Annotated[tuple[RootKey, ...], NoDecode] = Field(
        (), description="Further root keys: `KEY:SECRET[:ACCOUNT]`, with commas between them."
    )
    default_account: str = Field("000000000000", pattern=r"^\d{12}$", description="Account of keys that name none.")
    default_region: str = Field("us-east-1", min_length=1, description="Region of requests that name none.")
    compute: Literal["simulated", "libvirt", "lxc"] = Field(
        "simulated",
        description="What runs guests: nothing (`simulated`), QEMU (`libvirt`), or containers on this machine's kernel "
        "(`lxc`), which keep nobody in who means harm.",
    )
    volume: Literal["sparse", "qcow2"] = Field(
        "sparse", description="What holds the bytes of disks: `sparse` files, or `qcow2` chains (needs qemu-utils)."
    )
    network: Literal["simulated", "linux"] = Field(
        "simulated", description="What carries packets: nothing (`simulated`), or this machine's kernel (`linux`)."
    )
    public_pool: ipaddress.IPv4Network = Field(
        ipaddress.IPv4Network("198.18.0.0/15"),
        description="Range of public IPv4 addresses; its first one is the host's own towards guests.",
    )
    outgoing: Literal["none", "masquerade", "route"] = Field(
        "none",
        description="Whether guests with a public address reach beyond this host: not at all, in the host's name "
        "(`masquerade`), or under the public address (`route`; the pool must be routed to this host).",
    )
    objects: Literal["files", "s3"] = Field(
        "files", description="What keeps the bytes of objects: files in the data folder, or an engine that speaks S3."
    )
    objects_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="URL of the engine, with `objects` `s3`; so the next ones."
    )
    objects_bucket: str | None = Field(None, min_length=1, description="Bucket of the engine; it must be there.")
    objects_prefix: str = Field("", description="What the keys of this store begin with in that bucket.")
    objects_region: str = Field("us-east-1", min_length=1, description="Region of the engine.")
    objects_access_key: str | None = Field(None, min_length=1, description="Access key for the engine.")
    objects_secret_key: str | None = Field(None, min_length=1, repr=False, description="Its secret.")
    audit_rate: int = Field(
        0, ge=0, description="MiB a second that are read again in the background to find rot; 0: none are."
    )
    audit_days: float = Field(7, gt=0, description="Days from one such round to the next.")
    metadata_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port at which every instance's metadata is served on a loopback address of its own (see "
        "docs/metadata.md); 0 takes a free one. Default: it is not.",
    )
    libvirt_uri: str | None = Field(
        None, description="URI of the libvirt that runs guests. Default: one is started for this deployment alone."
    )
    overcommit: float = Field(
        8.0, gt=0, le=1024, description="Virtual processors that real guests get in all for each of the machine's."
    )
    scheduler_filters: Annotated[tuple[Literal["processors", "memory", "zone", "group"], ...], NoDecode] = Field(
        ("processors", "memory", "zone", "group"),
        description="What rules a host out for a guest, with commas between them: too few `processors` or too little "
        "`memory` left, another availability `zone`, a guest of a placement `group` that is to be kept apart.",
    )
    scheduler_weights: Annotated[
        tuple[tuple[Literal["memory", "processors", "guests", "group"], float], ...], NoDecode
    ] = Field(
        (("memory", 1.0), ("group", 2.0)),
        description="What speaks for a host among those that can take a guest, as `NAME=FACTOR` with commas between "
        "them: `memory` or `processors` left, few `guests`, guests of the same cluster `group`; a factor below 0 turns "
        "it around.",
    )
    deployment: str = Field(
        "",
        pattern=r"^[a-z0-9]{0,12}$",
        description="Mark of what this cloud makes on the machine. Default: made from the path of the data folder.",
    )
    dns_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="IPv4 addresses of resolvers, with commas between them, that the resolver inside real networks "
        "asks for names that are not this cloud's. Default: it refuses those.",
    )
    database_url: str | None = Field(
        None,
        repr=False,
        pattern=r"^(sqlite:///[^:]|postgresql\+psycopg://)",
        description="SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg://…`. Default: SQLite in the data folder.",
    )
    init_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (Path("/etc/nephele/init"), Path("/etc/localstack/init")),
        description="Folders, with commas between them, whose `boot.d`, `start.d`, `ready.d` and `shutdown.d` hold "
        "scripts that run at those moments (see docs/hooks.md).",
    )
    buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Buckets of the default account that are made at start, with commas between them."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins, with commas between them, whose pages browsers let call every service and read the "
        "answers (`https://app.example`, with one `*` at most); a bucket with CORS rules goes by these alone. "
        "Default: none.",
    )
    old_s3_defaults: bool = Field(
        False, description="New buckets as before April 2023: ACLs in force, public access not blocked."
    )
    owner_display_names: bool = Field(
        False, description="Send `DisplayName` of owners, as S3 did before November 2025."
    )
    events_webhook: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+",
        description="URL to which events of buckets with a notification configuration are posted.",
    )
    lifecycle_day: int = Field(
        86400,
        ge=1,
        le=86400,
        description="Seconds that S3 lifecycle rules take for a day: fewer for tests.",
    )
    log_level: Log = Field("info", description="Least severe log line; `info` has one line a request.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for machines.")

    @field_validator("root_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        return [_root_key(each) for each in _split(value)]

    @field_validator("dns_servers", mode="before")
    @classmethod
    def _split_servers(cls, value: Any) -> Any:
        return [str(ipaddress.IPv4Address(each)) for each in _split(value)]

    @field_validator("buckets", "init_dirs", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return _split(value)

    @field_validator("scheduler_filters", mode="before")
    @classmethod
    def _split_filters(cls, value: Any) -> Any:
        return _split(value)

    @field_validator("scheduler_weights", mode="before")
    @classmethod
    def _split_weights(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # a table in TOML
            return list(value.items())
        found = _split(value)
        return [tuple(one.partition("=")[::2]) if isinstance(one, str) else one for one in found]

    @field_validator("scheduler_weights")
    @classmethod
    def _are_numbers(cls, value: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        if not all(math.isfinite(factor) for _, factor in value):
            raise ValueError("a factor is a number")
        if len(dict(value)) < len(value):
            raise ValueError("a weight is given twice")
        return value

    @field_validator("public_pool")
    @classmethod
    def _holds_addresses(cls, value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if value.num_addresses < 4:
            raise ValueError("a range of public addresses is a /30 or larger")
        return value

    @field_validator("data_dir", "tls_certificate")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ephemeral and self.engine == "apart":
            raise ValueError(
                "ephemeral and engine=apart exclude each other: two processes need to know the data folder"
            )
        if self.ephemeral and self.database_url is not None:
            raise ValueError("ephemeral and database_url exclude each other: a given database is not thrown away")
        if self.objects == "s3":
            needed = ("objects_endpoint", "objects_bucket", "objects_access_key", "objects_secret_key")
            missing = [name for name in needed if getattr(self, name) is None]
            if missing:
                raise ValueError(f"objects s3 needs {', '.join(missing)}, too")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the endpoint."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def mark(self) -> str:
        """What is on everything that this cloud makes on the machine."""
        return self.deployment or hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:8]

    @property
    def drivers(self) -> dict[str, str]:
        """What does the work below: by its kind, the name of the driver."""
        return {name: getattr(self, name) for name in ("compute", "volume", "network", "objects")}

    @property
    def has_open_root(self) -> bool:
        """Whether `test` and access keys of 12 digits are roots."""
        return self.is_loopback if self.open_root is None else self.open_root

    @property
    def is_alone(self) -> bool:
        """Whether one process does everything, so that no other works on the data folder."""
        return self.workers == 1 and self.engine == "inside"

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'nephele.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings


NAMES = tuple(Settings.model_fields)


def load(given: Mapping[str, Any] | None = None, config: Path | None = None) -> Settings:
    """The settings of this process; `given` are those of the command line. Raises `SettingsError`."""
    _refuse_unknown(
        [name for name in os.environ if name.startswith(PREFIX) and name != CONFIG_VARIABLE],
        [PREFIX + name.upper() for name in NAMES] + [CONFIG_VARIABLE],
        "environment variable",
    )
    if config is None and (named := os.environ.get(CONFIG_VARIABLE)):
        config = Path(named)
    try:
        values = meant(os.environ)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    values |= _read(config) if config is not None else {}
    # What the environment sets is dropped here, so that pydantic reads it from there.
    values = {name: value for name, value in values.items() if not os.environ.get(PREFIX + name.upper())}
    values |= given or {}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(fault) for fault in error.errors())) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    _refuse_unknown(list(values), list(NAMES), f"setting in {path}:")
    return values


def _refuse_unknown(found: list[str], known: list[str], what: str) -> None:
    plain = {name.removeprefix(PREFIX): name for name in known}
    lines = []
    for name in sorted(set(found) - set(known)):
        near = difflib.get_close_matches(name.removeprefix(PREFIX), plain, n=1)
        lines.append(f"unknown {what} {name}" + (f"; did you mean {plain[near[0]]}?" if near else ""))
    if lines:
        raise SettingsError("\n".join(lines))


def _explain(fault: Mapping[str, Any]) -> str:
    """One fault of pydantic's in words, with the setting's name; never with a value that may be a secret."""
    name = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if not name:
        return str(message)
    if fault["loc"][0] in ("compute", "volume", "network", "objects"):
        return f"{name}: there is no driver {fault['input']!r} in this version; {message.lower()}"
    value = (
        "" if fault["loc"][0] in ("root_keys", "database_url", "objects_secret_key") else f", not {fault['input']!r}"
    )
    return f"{name}: {message[:1].lower()}{message[1:]}{value}"


def _split(value: Any) -> Any:
    return [part for part in (part.strip() for part in value.split(",")) if part] if isinstance(value, str) else value


def _root_key(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if len(parts) not in (2, 3):
        raise ValueError("a root key is ACCESSKEY:SECRET or ACCESSKEY:SECRET:ACCOUNT")
    return dict(zip(("access_key", "secret_key", "account"), parts, strict=False))
