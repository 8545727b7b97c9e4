"""Options that all commands for users share, and what they are turned into."""

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Service

DEFAULT_URL = "http://127.0.0.1:8080/v1"

BatchArgument = Annotated[str, Argument(metavar="BATCH", help="The batch's id: batch_...")]
Url = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="Where the service is; /v1 may be left out. Default: BATCH_GATEWAY_URL, "
        f"OPENAI_BASE_URL or {DEFAULT_URL}.",
    ),
]
Key = Annotated[
    str | None,
    Option(
        "--api-key",
        metavar="KEY",
        help="The tenant's key or token; better given as BATCH_GATEWAY_API_KEY, or as "
        "OPENAI_API_KEY beside OPENAI_BASE_URL.",
    ),
]
Headers = Annotated[
    list[str] | None,
    Option(
        "--header",
        metavar="NAME=VALUE",
        help="Header for a gateway in front; may be given several times.",
    ),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON as the service answers it.")]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Print nothing but results and errors: no progress.")
]
FailOnErrors = Annotated[
    str | None,
    Option(
        metavar="[RATE]",
        help="End with 4 if more than this share of the requests failed, such as 0.05 or 5%; "
        "without RATE: if any failed.",
    ),
]


def connect(url: str | None, key: str | None, headers: list[str] | None) -> "Service":
    """A client of the service that the options, or else the environment, name.

    OPENAI_API_KEY belongs to OPENAI_BASE_URL: it is never sent anywhere else.
    """
    from batch_gateway.cli.batches.service import Service, base_url

    variables = os.environ
    theirs = variables.get("OPENAI_BASE_URL")
    where = url or variables.get("BATCH_GATEWAY_URL") or theirs or DEFAULT_URL
    key = key or variables.get("BATCH_GATEWAY_API_KEY")
    if not key and theirs and base_url(theirs) == base_url(where):
        key = variables.get("OPENAI_API_KEY")
    return Service(where, key, pairs(headers, "--header"))


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping. Raises BadParameter."""
    found = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not {word}")
        found[name] = value
    return found


def fields(given: list[str] | None) -> dict[str, Any]:
    """``NAME=JSON`` words as a mapping; what is no JSON is text. Raises BadParameter."""
    found: dict[str, Any] = {}
    for name, value in pairs(given, "--field").items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def plain_id(batch: str) -> str:
    """An id that can stand in a path. Raises BadParameter."""
    if not batch.replace("_", "").replace("-", "").isalnum():
        raise typer.BadParameter(f"not the id of a batch: {batch}")
    return batch
