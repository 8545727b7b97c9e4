"""Fixtures for all tests: real servers, started from wheels once per run, wiped per test."""

import os
import signal
from pathlib import Path

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

pytest_plugins = [
    "fixtures.kube",
    "fixtures.redis",
    "fixtures.postgres",
    "fixtures.s3",
    "fixtures.files",
    "fixtures.metadata",
    "fixtures.simulator",
    "fixtures.endpoint",
    "fixtures.toys",
    "fixtures.gateway",
    "fixtures.world",
    "fixtures.receivers",
    "fixtures.intake",
    "fixtures.service",
]


def pytest_configure() -> None:
    default_signals()
    if not home_is_writable():
        os.environ.setdefault("UV_NO_CACHE", "1")  # uv ends where it cannot make its cache


def home_is_writable() -> bool:
    try:
        return os.access(Path.home(), os.W_OK)
    except RuntimeError:  # the user has none
        return False


def default_signals() -> None:
    """Give the processes that tests start default signals, however the tests were started.

    A shell without job control starts background commands with SIGINT and SIGQUIT ignored, and an
    ignored signal is inherited by all descendants. A signal with a handler gets its default in a
    new program; the handler here does nothing, so the tests themselves continue ignoring it.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
