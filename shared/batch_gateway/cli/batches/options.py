"""Options that all commands for users share, and what they are turned into."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Service

DEFAULT_URL = "http://127.0.0.1:8080/v1"

BatchArgument = Annotated[str, Argument(metavar="BATCH", help="The batch's id: batch_...")]
Url = Annotated[
    str,
    Option(
        metavar="URL",
        envvar=["BATCH_GATEWAY_URL", "OPENAI_BASE_URL"],
        help="Where the service is; /v1 may be left out.",
    ),
]
Key = Annotated[
    str | None,
    Option(
        "--api-key",
        metavar="KEY",
        envvar="OPENAI_API_KEY",
        show_envvar=True,
        help="The tenant's key or token; better given in the environment.",
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


def connect(url: str, key: str | None, headers: list[str] | None) -> "Service":
    from batch_gateway.cli.batches.service import Service

    return Service(url, key, pairs(headers, "--header"))


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
