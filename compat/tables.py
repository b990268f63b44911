"""The tables that stand outside the backends: what AWS's side of the house keeps."""

from __future__ import annotations

import importlib

MODULES = ("compat.audit", "compat.ec2.settings", "compat.records", "compat.ssm.store", "compat.tags", "compat.tokens")
"""Modules with mapped classes. A new database needs these, and not every operation that there is."""


def load_tables() -> None:
    """Import every mapped class outside the backends."""
    for name in MODULES:
        importlib.import_module(name)
