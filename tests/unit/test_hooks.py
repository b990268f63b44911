"""Scripts of the stages of a server's life: what is written down of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.hooks import STAGES, Hooks, told
from gateway.settings import Settings


def test_stages_that_run_at_once_are_all_written_down(tmp_path: Path) -> None:
    hooks = Hooks(Settings(data_dir=tmp_path), {})
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(hooks.run, stage) for stage in STAGES * 50]:
            done.result()
    assert told(tmp_path) == {"completed": {stage.upper(): True for stage in STAGES}, "scripts": []}
