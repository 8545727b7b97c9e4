"""Which line of a process's output contains the cause of its end, among other lines."""

import json

import pytest

from batch_gateway.local.process_output import error_line

TRACEBACK = """Traceback (most recent call last):
  File "/app/serve.py", line 12, in <module>
    main()
ValueError: setting auth.secret: missing
  and more of it"""
TOLD = "ValueError: setting auth.secret: missing"
FAILED = "10:00:01.500 ERROR   api: Application startup failed. Exiting."
IN_USE = "[Errno 98] address already in use"
NOT_BOUND = f"10:00:01.000 ERROR   api: {IN_USE}"


def record(severity, message, **more):
    line = {"severity": severity, "message": message, "logger": "x", "service": "api", **more}
    return json.dumps(line)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("", ""),
        ("first\n\nlast\n", "last"),
        (TRACEBACK, TOLD),
        (TRACEBACK[20:], TOLD),
        (f"{TRACEBACK}\n{FAILED}", TOLD),
        ("10:00:01.000 ERROR   api: " + TRACEBACK.replace("\n", "\\n") + f"\\n\n{FAILED}", TOLD),
        (f"{TRACEBACK}\n10:00:01.000 INFO    api: Shutting down\n{FAILED}", TOLD),
        (f"{TRACEBACK}\n{NOT_BOUND}", IN_USE),
        (
            f"{NOT_BOUND}\n10:00:01.100 INFO    api: Waiting for application shutdown.\n"
            "10:00:01.200 INFO    api: Application shutdown complete.",
            IN_USE,
        ),
        (record("ERROR", "it failed", exception=TRACEBACK) + f"\n{FAILED}", TOLD),
        (record("ERROR", "it failed", exception=TRACEBACK)[40:] + f"\n{FAILED}", TOLD),
        (f"{record('ERROR', '', exception=TRACEBACK)}\n{record('ERROR', 'worse')}", "worse"),
        (record("WARNING", "nothing else"), "nothing else"),
        ("x" * 400, "x" * 297 + "..."),
    ],
    ids=range(14),
)
def test_the_line_that_tells_the_cause_is_found(output, told):
    assert error_line(output) == told
