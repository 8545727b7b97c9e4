"""Finds the line of a process's output with the reason why the process ended."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 300  # characters of the output of a process or a controller

#: What uvicorn writes after the error that kept a server from starting.
_REMARKS = (
    "Application startup failed. Exiting.",
    "Waiting for application shutdown.",
    "Application shutdown complete.",
)
#: A line of a traceback that names a place in a file.
_FRAME = re.compile(r'\s+File "[^"]+", line \d+')
_TRACEBACK = "Traceback (most recent call last)"
_EXCEPTION = '", "exception": "'  # in a record in JSON
#: What follows the message of a record in JSON.
_REST = re.compile(r'", "(?:logger|service)": "')
#: A record as text: see ``log``.
_TEXT = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (?P<level>[A-Z]+) +[\w-]+: ")
_PASSED_OVER = ("DEBUG", "INFO")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    level: str | None  # of the record that begins here; None: none does


def error_line(output: str) -> str:
    """The exception of the last traceback if nothing worse than INFO was logged after it, else the
    last line; "" when there is none.

    The beginning of ``output`` may be missing, as Kubernetes keeps the end of what a container has
    written. Lines may be our own records, in JSON or as text.
    """
    lines = [line for line in _lines(output) if line.text.strip() and not _is_remark(line.text)]
    frames = [at for at, line in enumerate(lines) if _FRAME.match(line.text)]
    behind = lines[frames[-1] :] if frames else []
    exception = next((line for line in behind if not line.text[0].isspace()), None)
    if exception is not None:
        later = behind[behind.index(exception) + 1 :]
        if all(line.level is None or line.level in _PASSED_OVER for line in later):
            return one_line(exception.text)
    return one_line(lines[-1].text) if lines else ""


def one_line(text: str) -> str:
    """``text`` in one line, and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _lines(output: str) -> Iterator[_Line]:
    for physical in output.splitlines():
        level, said = _record(physical)
        for number, line in enumerate(said.splitlines()):
            yield _Line(line, level if number == 0 else None)


def _record(line: str) -> tuple[str | None, str]:
    """Level and text of the record in ``line``, also of one in JSON without its beginning; else
    None, and the line."""
    if (text := _TEXT.match(line)) is not None:
        return text["level"], _unfolded(line[text.end() :])
    if not line.endswith("}"):
        return None, _unfolded(line)
    try:
        record = json.loads(line)
    except ValueError:
        said, _, exception = line.removesuffix('"}').partition(_EXCEPTION)
        rest = exception or _REST.split(said)[0]
        return None, rest.replace("\\n", "\n").replace('\\"', '"')
    if not isinstance(record, dict):
        return None, line
    said = "\n".join(str(record[key]) for key in ("message", "exception") if record.get(key))
    return str(record.get("severity")), said


def _unfolded(line: str) -> str:
    """A traceback in one line, as our records as text have it, in its lines."""
    return line.replace("\\n", "\n") if _TRACEBACK in line else line


def _is_remark(line: str) -> bool:
    return line.rstrip().endswith(_REMARKS)
