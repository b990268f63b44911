"""`python -m gateway` is `nephele`."""

from __future__ import annotations

from gateway.cli import main

main()
