"""Finds the line in a container's last output that says why it ended."""

import json
import re

from batch_gateway.local.processes import STARTUP_FAILED

_LONGEST = 300  # characters of what a process has said
#: A line of a traceback that names a place in a file.
_FRAME = re.compile(r'\s+File "[^"]+", line \d+')
#: What follows a record's message.
_REST = re.compile(r'", "(?:logger|service)": "')


def one_line(text: str) -> str:
    """What a process or a controller has said, in a line: of a traceback the last line only.

    Kubernetes keeps the end of a container's output, so a traceback may lack its beginning. Lines
    may be our own JSON records.
    """
    lines = [part for line in text.splitlines() for part in _said(line).splitlines()]
    lines = [line for line in lines if line.strip() and not line.endswith(STARTUP_FAILED)]
    text = " ".join(" ".join(_without_frames(lines)).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _said(line: str) -> str:
    """The message of a record in JSON, also of one without its beginning; else the line."""
    if not line.endswith("}"):
        return line
    try:
        record = json.loads(line)
    except ValueError:
        rest = _REST.split(line.removesuffix('"}'))[0]
        return rest.replace("\\n", "\n").replace('\\"', '"')
    if not isinstance(record, dict):
        return line
    return "\n".join(str(record[key]) for key in ("message", "exception") if record.get(key))


def _without_frames(lines: list[str]) -> list[str]:
    """The line after the last frame of a traceback; all lines where there is none."""
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    for line in lines[frames[-1] :] if frames else ():
        if not line[0].isspace():
            return [line]
    return lines[-1:] if frames or any("Traceback" in line for line in lines) else lines
