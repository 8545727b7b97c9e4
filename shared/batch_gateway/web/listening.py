"""The address that a function listens on."""

import os


def listening_on() -> str:
    """The address to listen on: all, unless it is set; a pod is not reached on others."""
    return os.environ.get("HOST", "0.0.0.0")
