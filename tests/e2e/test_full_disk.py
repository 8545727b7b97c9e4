"""A disk that is really full: named everywhere, and no batch is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import full_disk
from fixtures.simulator import simulator_process

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(300)
def test_it_is_named_and_heals_when_there_is_room(tmp_path):
    with simulator_process(ttft_ms=500, slots=8) as model:
        played = subprocess.run(
            [sys.executable, "-m", "fixtures.full_disk", str(tmp_path), model],
            env={**os.environ, "PYTHONPATH": str(Path(full_disk.__file__).parent.parent)},
            capture_output=True,
            text=True,
        )
    assert played.returncode == 0, played.stderr[-3000:]
    seen = json.loads(played.stdout)

    assert seen["refused"] == [507, "storage_full"]
    assert [name for name in ("metrics", "status", "doctor") if not seen[name]] == [], played.stderr
    assert "is full" in played.stderr  # what `up` says on the terminal
    assert seen["batch"] == ["completed", full_disk.LINES]
    assert seen["results"] == full_disk.LINES
    assert seen["uploaded"] == 200
