"""File names that are safe in a header, in a list and on a disk."""

import re

LONGEST_NAME = 512  # characters
UNNAMED = "upload"  # what OpenAI's SDKs call a stream without a name
_SEPARATORS = re.compile(r"[/\\]")


def safe_name(name: str) -> str:
    """The last part of ``name``, without control, format and other unprintable characters.

    Folders, CR, LF, NUL, bidirectional overrides and lone surrogates are removed. The result is
    ``upload`` if nothing is left.
    """
    last = _SEPARATORS.split(name)[-1]
    kept = "".join(c for c in last if c.isprintable()).strip()
    return UNNAMED if kept in ("", ".", "..") else kept


def shortened(name: str) -> str:
    """``name`` cut to ``LONGEST_NAME`` characters; the extension is kept."""
    if len(name) <= LONGEST_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    ending = f"{dot}{extension}" if stem and len(extension) < 16 else ""
    return name[: LONGEST_NAME - len(ending)] + ending
