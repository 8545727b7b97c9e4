"""Common parts of both clients: bodies of requests, and default options of the SDK."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

_HERE = "http://127.0.0.1:8080/v1"


def sdk_options() -> dict[str, Any]:
    """The base URL and the key that the environment names, as for the command line.

    OPENAI_API_KEY belongs to OPENAI_BASE_URL: it is sent nowhere else.
    """
    theirs = os.environ.get("OPENAI_BASE_URL")
    ours = os.environ.get("BATCH_GATEWAY_URL")
    url = (ours or theirs or _HERE).rstrip("/")
    key = os.environ.get("BATCH_GATEWAY_API_KEY")
    if not key and ours in (None, "", theirs):
        key = os.environ.get("OPENAI_API_KEY") if theirs else None
    return {
        "base_url": url if url.endswith("/v1") else f"{url}/v1",
        "api_key": key or "unused",
        "max_retries": 5,
    }


def retry_body(
    errors: Sequence[str] | None, window: str | None, metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    given = {
        "errors": None if errors is None else list(errors),
        "completion_window": window,
        "metadata": None if metadata is None else dict(metadata),
    }
    return {name: value for name, value in given.items() if value is not None}


def update_body(priority: int | None, window: str | None) -> dict[str, Any]:
    given = {"priority": priority, "completion_window": window}
    return {name: value for name, value in given.items() if value is not None}
