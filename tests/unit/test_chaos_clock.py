"""The clock that chaos gives to a Service is the one that the product reads."""

import os
import subprocess
import sys
import time

from chaos.clock import Clocks

ASK = """
import time
from batch_gateway.wiring.runtime import SystemClock
real = time.monotonic() - {monotonic}
print(SystemClock().now().timestamp() - {now} - real, time.time() - {now} - real)
"""


def seen_by(service: str) -> list[float]:
    code = ASK.format(monotonic=time.monotonic(), now=time.time())
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "K_SERVICE": service},
        capture_output=True,
        text=True,
        check=True,
    )
    return [round(float(word) / 10) * 10 for word in asked.stdout.split()]


def test_one_service_sees_another_time_and_the_others_do_not(tmp_path):
    clocks = Clocks(tmp_path / "clocks")
    clocks.set("executor", -3600)

    with clocks.installed():
        assert seen_by("executor") == [-3600, -3600]
        assert seen_by("planner") == [0, 0]
    assert "CHAOS_CLOCKS" not in os.environ
