"""Fixtures for all tests: real servers, started from wheels once per run, wiped per test."""

pytest_plugins = [
    "fixtures.redis",
    "fixtures.postgres",
    "fixtures.s3",
    "fixtures.files",
    "fixtures.metadata",
    "fixtures.simulator",
    "fixtures.toys",
    "fixtures.gateway",
    "fixtures.world",
]
