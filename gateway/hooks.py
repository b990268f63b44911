"""Scripts that run when a server begins, is ready, and ends: `boot.d`, `start.d`, `ready.d` and `shutdown.d` of the
folders in `init_dirs`, as users of LocalStack have them.

In each, programs that end in `.sh` and Python's `.py` run one after another: those of sub-folders first, then in
alphabetical order. How it went stands in a file, which all processes read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.settings import Settings

log = logging.getLogger("nephele.hooks")

STAGES = ("boot", "start", "ready", "shutdown")
STATE = "init.json"
OLD_READY = Path("/docker-entrypoint-initaws.d")
"""Where scripts of the stage `ready` lay before there were stages."""
LONGEST_END = 60.0
"""Seconds that a script may take while everything ends."""


def found(settings: Settings, stage: str) -> list[Path]:
    """The scripts of a stage, in their order."""
    folders = [folder / f"{stage}.d" for folder in settings.init_dirs]
    if stage == "ready" and settings.init_dirs:
        folders.append(OLD_READY)
    return [script for folder in folders for script in _within(folder)]


def _within(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        entries = sorted(folder.iterdir())
        for entry in entries:
            if entry.is_dir():
                yield from _within(entry)
        yield from (entry for entry in entries if entry.suffix in (".sh", ".py") and entry.is_file())


def told(data: Path) -> dict[str, Any]:
    """How it goes: `completed` by stage, and `scripts`, each with stage, name and state (`UNKNOWN`, `RUNNING`,
    `SUCCESSFUL` or `ERROR`)."""
    try:
        answer: dict[str, Any] = json.loads((data / STATE).read_bytes())
    except (OSError, ValueError):
        return {"completed": {stage.upper(): False for stage in STAGES}, "scripts": []}
    return answer


@dataclass
class Hooks:
    """Runs the scripts of one server, and writes down how it goes."""

    settings: Settings
    environment: dict[str, str]
    """What clients need to find the server, and be somebody there."""
    _completed: dict[str, bool] = field(default_factory=lambda: {stage.upper(): False for stage in STAGES})
    _scripts: list[dict[str, str]] = field(default_factory=list)
    _at: dict[str, list[tuple[Path, dict[str, str]]]] = field(default_factory=dict)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    """The end may come while `ready` runs aside."""

    def __post_init__(self) -> None:
        for stage in STAGES:
            self._at[stage] = []
            for script in found(self.settings, stage):
                entry = {"stage": stage.upper(), "name": script.name, "state": "UNKNOWN"}
                self._at[stage].append((script, entry))
                self._scripts.append(entry)
        self._write()

    def run(self, stage: str, longest: float | None = None) -> None:
        """Run the scripts of a stage. One that fails is logged and keeps nothing from going on."""
        if self._at[stage]:
            with tempfile.TemporaryDirectory(prefix="nephele-") as tools:
                environment = os.environ | self.environment | {"PATH": _with_tools(Path(tools))}
                for script, entry in self._at[stage]:
                    self._tell(entry, "RUNNING")
                    self._tell(entry, "SUCCESSFUL" if _done(script, environment, longest) else "ERROR")
        self._completed[stage.upper()] = True
        self._write()

    def run_aside(self, stage: str) -> None:
        """Run the scripts of a stage while the caller goes on."""
        threading.Thread(target=self.run, args=(stage,), name=f"hooks-{stage}", daemon=True).start()

    def _tell(self, entry: dict[str, str], state: str) -> None:
        entry["state"] = state
        self._write()

    def _write(self) -> None:
        file = self.settings.data_dir / STATE
        beside = file.with_suffix(".new")
        with self._writing:
            beside.write_text(json.dumps({"completed": self._completed, "scripts": self._scripts}))
            beside.replace(file)


def _done(script: Path, environment: dict[str, str], longest: float | None) -> bool:
    command = [sys.executable, str(script)] if script.suffix == ".py" else [str(script)]
    try:
        done = subprocess.run(
            command,
            cwd=script.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # where the log goes: `Ready.` stays the last line of the other
            timeout=longest,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("the script %s did not run to its end: %s", script, error)
        return False
    if done.returncode != 0:
        log.error("the script %s ended with %s", script, done.returncode)
    return done.returncode == 0


def _with_tools(folder: Path) -> str:
    """The path of programs, with an `awslocal` where there is none, since nearly all such scripts call it."""
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("awslocal") is not None:
        return path
    program = folder / "awslocal"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway aws "$@"\n')
    program.chmod(0o755)
    return f"{path}{os.pathsep}{folder}"
