"""A small disk that only this process and its children see, so that it can really be full.

A tmpfs in a mount namespace of our own; without root in a user namespace of our own too, where
the kernel allows that. It goes away with the last process.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18  # linux/mount.h
_BLOCK = bytes(64 * 1024)


def private_disk(folder: Path, mib: int) -> bool:
    """Mount a disk of ``mib`` on ``folder``; whether the kernel has allowed it.

    For a process that has one thread only.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS if user == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if libc.unshare(flags):
        return False
    if user != 0:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        except OSError:
            return False
    if libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return False
    options = f"size={mib}m,mode=0700".encode()
    return libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) == 0


class Ballast:
    """A file that takes all the room there is on a disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self) -> None:
        """Take what is free now, to the last block."""
        with self._path.open("ab", buffering=0) as file:
            for size in (len(_BLOCK), 4096):
                try:
                    while file.write(_BLOCK[:size]) == size:
                        pass
                except OSError:
                    continue

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)
