"""Wall clocks that jump, for each Service by itself, without a word in the product's code.

The processes of a platform find ``preload/sitecustomize.py`` on their path, which Python runs at
its start.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRELOAD = Path(__file__).parent / "preload"


class Clocks:
    def __init__(self, folder: Path) -> None:
        """``folder`` gets a file for each Service whose clock is wrong."""
        folder.mkdir()
        self._folder = folder

    @contextmanager
    def installed(self) -> Iterator[None]:
        """What this process starts while the context is open has these clocks."""
        path = [str(_PRELOAD), *filter(None, [os.environ.get("PYTHONPATH")])]
        changes = {"PYTHONPATH": os.pathsep.join(path), "CHAOS_CLOCKS": str(self._folder)}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def set(self, service: str, offset_s: float) -> None:
        """Have the processes of a Service see another time."""
        fresh = self._folder / f".{service}"
        fresh.write_text(str(offset_s))
        fresh.replace(self._folder / service)
