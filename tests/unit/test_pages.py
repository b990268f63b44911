"""Generated pages say what the code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import coverage

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize(
    ("page", "render"), [("coverage.md", coverage.as_markdown), ("settings.md", coverage.settings_page)]
)
def test_a_generated_page_is_current(page: str, render: Callable[[], str]) -> None:
    """When this fails: `make docs`."""
    assert (DOCS / page).read_text() == render()


def test_the_page_lists_what_is_registered_and_how_much_there_is() -> None:
    found = coverage.implemented()
    page = coverage.as_markdown()
    assert "- `GetCallerIdentity`" in page
    for service, names in found.items():
        assert f"| [{service}](#{service}) | {len(names)} |" in page


def test_every_operation_is_one_that_aws_has() -> None:
    for service, names in coverage.implemented().items():
        assert set(names) <= set(coverage.known(service))
