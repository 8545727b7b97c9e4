"""What the chaos rounds read in the functions' logs."""

from pathlib import Path

from chaos.function_logs import crashes

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
