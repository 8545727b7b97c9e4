"""Memory of a function's process: when garbage is collected, and what is returned to Linux."""

import ctypes
import gc

_NEW_OBJECTS = 10_000  # that can be part of a cycle: 2 MiB at most when they all are garbage
_KEPT_BYTES = 4 * 1024 * 1024
#: Of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def collect_seldom() -> None:
    """Look for garbage only among what is made from now on, and after many new objects.

    What a function makes for a request is freed by its reference count; with Python's own threshold
    of 700 objects a tenth of the processor time of a large batch goes into looking for cycles.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()


def give_back_freed_memory() -> None:
    """Let glibc's allocator keep a few MiB of what is freed, and give the rest back to the system.

    By itself it keeps one heap for each thread, and more of each after every large block that was
    freed: so a function that has merged one large batch keeps that memory until it ends. To be
    called before the first thread; another C library has no such settings.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
