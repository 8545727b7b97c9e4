"""Where a function listens; apart from the server, which runs as a program of its own."""

import os


def listening_on() -> str:
    """The address to listen on: all, unless told otherwise; a pod is not reached on others."""
    return os.environ.get("HOST", "0.0.0.0")
