"""The documents: what they point at is there, and the settings and commands that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli import app
from gateway.settings import CONFIG_VARIABLE, NAMES, PREFIX

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLES = {PREFIX + name.upper() for name in NAMES} | {CONFIG_VARIABLE}
FOR_TESTS = {"NEPHELE_REQUIRE_REAL"}


def anchors(document: Path) -> set[str]:
    """The names by which a document's headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = document if not path else document.parent / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_variables_are_settings(document: Path) -> None:
    named = set(re.findall(r"\bNEPHELE_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))
    assert named <= VARIABLES | FOR_TESTS, named - VARIABLES - FOR_TESTS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_there(document: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:^ {4}|`|/|\$\()nephele ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))
    assert named <= set(commands), named - set(commands)


def test_files_that_the_architecture_names_are_there() -> None:
    """In tables, a name without a folder lies beside the one before it; `*` and `{a,b}` mean what shells mean."""
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        folder: Path | None = None
        for name in re.findall(r"`([\w./*{},-]+(?:\.py|/))`", line):
            folder = Path(name).parent if "/" in name else folder if line.startswith("|") else None
            if folder is None:
                continue
            stem, _, rest = Path(name).name.partition("{")
            either, _, end = rest.partition("}")
            for one in either.split(","):
                assert list(ROOT.glob(str(folder / (stem + one + end)))), f"{name}: {line}"
