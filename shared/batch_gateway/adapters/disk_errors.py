"""Translates errors of disk operations, for adapters that store files."""

import errno

from batch_gateway.core.errors import StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def refused(where: str, error: OSError) -> Unavailable:
    """The error to raise; ``where`` names the folder in its message."""
    if error.errno in _FULL:
        return StorageFull(f"{where} is full: {error}")
    return Unavailable(f"{where}: {error}")
