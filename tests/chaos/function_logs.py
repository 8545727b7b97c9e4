"""Exceptions in the logs of the functions."""

import re
from pathlib import Path

_FORESEEN = (
    "batch_gateway.core.errors.",
    "urllib3.exceptions.HeaderParsingError",  # its own warning of an answer cut in its headers
)
_LOG_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} [A-Z]+ ")  # how a line of a function's log begins
_CHAINED = (
    "The above exception was the direct cause of",
    "During handling of the above exception",
)


def crashes(data: Path) -> list[str]:
    """Exceptions that the functions did not foresee, by their last line."""
    found: dict[str, int] = {}
    for log in sorted((data / "logs").glob("*.log")):
        text = log.read_text(errors="replace").replace("\\n", "\n")  # a server's own, in one line
        for piece in text.split("Traceback (most recent call last)")[1:]:
            if any(link in piece for link in _CHAINED):
                continue  # another one was made of it
            lines = piece.splitlines()[1:]
            end = next((n for n, x in enumerate(lines) if x and not x.startswith(" ")), len(lines))
            if end == len(lines) or any(_LOG_LINE.search(line) for line in lines[: end + 1]):
                continue  # the disk was full: the rest of it could not be written
            last = lines[end]
            if not any(name in last for name in _FORESEEN):
                key = f"{log.stem}: {last[:200]}"
                found[key] = found.get(key, 0) + 1
    return [f"unforeseen, {count} times: {what}" for what, count in found.items()]
