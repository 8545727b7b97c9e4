"""Gives a function's process a wall clock of its own: Python runs this at its start (``site``).

The product reads wall clocks at ``SystemClock`` and, in libraries, at ``time.time``; both get the
offset of the Service's file. The monotonic clock is not changed, as after a step of NTP.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

_FOLDER = Path(os.environ["CHAOS_CLOCKS"])
_FRESH_S = 0.2
_MODULE = "batch_gateway.wiring.runtime"

_real_time = time.time
_seen = (-1.0, 0.0)  # when the file was read, by the monotonic clock, and what it said


def _offset_s() -> float:
    global _seen
    now = time.monotonic()
    if now - _seen[0] > _FRESH_S or _seen[0] < 0:
        service = os.environ.get("K_SERVICE", "")  # known once a process is forked for it
        path = _FOLDER / service
        _seen = now, float(path.read_text()) if path.is_file() else 0.0
    return _seen[1]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as usual, and patches it once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            now = module.SystemClock.now
            module.SystemClock.now = lambda clock: now(clock) + timedelta(seconds=_offset_s())

        spec.loader.exec_module = exec_module
        return spec


time.time = lambda: _real_time() + _offset_s()
sys.meta_path.insert(0, _Finder())
