"""What the chaos rounds read in the functions' logs."""

import asyncio
from pathlib import Path

from chaos.function_logs import crashes
from chaos.patience import Patience, crowding

TRACEBACK = """12:00:00.000 ERROR   janitor: A step of the sweep failed
Traceback (most recent call last):
  File "sweep.py", line 195, in _run
    await step()
"""
LATER = "12:00:01.000 INFO    janitor: Shutting down\n"


def test_exceptions_that_were_not_foreseen_are_told_and_cut_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "janitor.log"

    def found(content: str) -> list[str]:
        log.write_text(content)
        return crashes(tmp_path)

    assert found(f"{TRACEBACK}KeyError: 'x'\n{LATER}") == [
        "unforeseen, 1 times: janitor: KeyError: 'x'"
    ]
    assert found(f"{TRACEBACK}batch_gateway.core.errors.Unavailable: down\n{LATER}") == []
    for written in (f"{TRACEBACK}    await st", f"{TRACEBACK}redis.Out", TRACEBACK):
        assert found(written + LATER) == []  # the disk was full
        assert found(written + f"{TRACEBACK}KeyError\n") == found(f"{TRACEBACK}KeyError\n")


async def test_a_check_waits_in_the_time_of_a_machine_that_does_nothing_else(monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    load = [8.0]
    monkeypatch.setattr("os.getloadavg", lambda: (load[0], 0.0, 0.0))
    assert crowding() == 1
    load[0] = 40.0
    assert crowding() == 5
    load[0] = 4000.0
    assert crowding() == 10

    now = [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    load[0] = 40.0
    patience = Patience(10)
    now[0] += 45
    assert not patience.over
    now[0] += 10
    assert patience.over
