"""Imports functions-framework without Flask, which asynchronous functions do not use.

The framework serves functions by Flask or by Starlette, and its package imports both. Flask and
Werkzeug are a tenth of a function's start, and nothing of an asynchronous function goes through
them. So while the framework is imported, their modules are blank: any attribute may be named, as
annotations do. Afterwards both names are free again, and importing Flask gives Flask.

Where a release of the framework wants more of them than names, it is imported as it is, and a test
tells that the shortcut is gone. ``LOG_EXECUTION_ID``, which makes the framework log through Flask,
does without the shortcut.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from starlette.applications import Starlette

_UNUSED = ("flask", "werkzeug")
_FRAMEWORK = "functions_framework"


class _Blank(ModuleType):
    """Has every attribute, and each of them is as blank."""

    def __getattr__(self, name: str) -> "_Blank":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Blank(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> "_Blank":
        return self


class _BlankFinder:
    """Finds blank modules for the unused packages and all that is in them."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in _UNUSED:
            return None
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type] # has what it takes

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Blank(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""


@contextmanager
def _blanks() -> Iterator[None]:
    finder = _BlankFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget(*_UNUSED)


def _forget(*packages: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def _imported() -> ModuleType:
    loaded = {_FRAMEWORK, *_UNUSED} & sys.modules.keys()
    if not loaded and "LOG_EXECUTION_ID" not in os.environ:
        try:
            with _blanks():
                return importlib.import_module(f"{_FRAMEWORK}.aio")
        except Exception:  # noqa: BLE001 - the framework may use any name of them
            _forget(_FRAMEWORK)
    return importlib.import_module(f"{_FRAMEWORK}.aio")


create_asgi_app: Callable[[str, str, str], Starlette] = _imported().create_asgi_app
"""The framework's application around a function: its name, its source, how it is called."""
