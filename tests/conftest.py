"""Fixtures for all tests: real servers, started from wheels once per run, wiped per test."""

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
]
