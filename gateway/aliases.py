"""Variables that other local clouds read, and what they mean here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _switch(name: str, value: str) -> bool:
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise ValueError(f"{name}: must be 1 or 0, not {value!r}")


def _listen(name: str, value: str) -> dict[str, Any]:
    host, _, port = value.split(",")[0].rpartition(":")
    if not port.isdigit():
        raise ValueError(f"{name}: must be ADDRESS:PORT, not {value!r}")
    return {"port": int(port)} | ({"host": host} if host else {})


def _level(name: str, value: str) -> dict[str, Any]:
    levels = {"trace": "debug", "trace-internal": "debug", "warn": "warning"}
    return {"log_level": levels.get(value.lower(), value.lower())}


def _guests(name: str, value: str) -> dict[str, Any]:
    return {"compute": "simulated" if value == "mock" else value}


def _tls(name: str, value: str) -> dict[str, Any]:
    _switch(name, value)
    return {}  # who speaks TLS gets it anyway


ALIASES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "GATEWAY_LISTEN": _listen,
    "EDGE_PORT": lambda name, value: {"port": value},
    "PERSISTENCE": lambda name, value: {"ephemeral": not _switch(name, value)},
    "ENFORCE_IAM": lambda name, value: {"auth": "enforce" if _switch(name, value) else "off"},
    "IAM_SOFT_MODE": lambda name, value: {"auth": "soft"} if _switch(name, value) else {},
    "DEBUG": lambda name, value: {"log_level": "debug"} if _switch(name, value) else {},
    "LS_LOG": _level,
    "EC2_VM_MANAGER": _guests,
    "EXTRA_CORS_ALLOWED_ORIGINS": lambda name, value: {"cors_origins": value},
    "S3_BUCKET": lambda name, value: {"buckets": value},
    "USE_SSL": _tls,
    "CUSTOM_SSL_CERT_PATH": lambda name, value: {"tls_certificate": value},
    "AWS_DEFAULT_REGION": lambda name, value: {"default_region": value},
}
"""What variables that LocalStack and moto users have in their scripts mean here. Later ones win."""
KEY_ALIASES = {"AWS_ACCESS_KEY_ID": "AWS_SECRET_ACCESS_KEY", "MINIO_ROOT_USER": "MINIO_ROOT_PASSWORD"}
"""Variables that name a root key, and those of their secrets."""


def meant(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that such variables mean. Raises `ValueError` with the name of one that nobody can read."""
    values: dict[str, Any] = {}
    for name, meaning in ALIASES.items():
        if value := environment.get(name) or environment.get(f"LOCALSTACK_{name}"):
            values |= meaning(name, value)
    pairs = [(environment.get(key), environment.get(secret)) for key, secret in KEY_ALIASES.items()]
    keys = [(key, secret) for key, secret in pairs if key and secret and (key, secret) != ("test", "test")]
    if keys:
        values["root_keys"] = [{"access_key": key, "secret_key": secret} for key, secret in keys]
    return values
