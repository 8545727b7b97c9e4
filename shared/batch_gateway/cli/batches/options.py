"""Options that all commands for users share."""

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import ServiceClient
    from batch_gateway.cli.batches.source import InputSource

DEFAULT_URL = "http://127.0.0.1:8080/v1"
DEFAULT_ENDPOINT = "/v1/chat/completions"
_PANEL = "Connection"

BatchArgument = Annotated[str, Argument(metavar="BATCH", help="The batch's id: batch_...")]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The service's address and the credentials."""

    url: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Where the service is; /v1 may be left out. Default: BATCH_GATEWAY_URL, the "
            f"profile, OPENAI_BASE_URL or {DEFAULT_URL}.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    api_key: Annotated[
        str | None,
        Option(
            metavar="KEY",
            help="The tenant's key or token; better given as BATCH_GATEWAY_API_KEY, or as "
            "OPENAI_API_KEY beside OPENAI_BASE_URL.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=VALUE",
            help="Header for a gateway in front; may be given several times.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    profile: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="A profile of `login`; default: BATCH_GATEWAY_PROFILE or the current one.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def service(self) -> "ServiceClient":
        """A client of the service that the options, the environment or a profile name, in this
        order; --profile is an option.

        Keys belong to URLs: a profile's goes to the profile's URL, OPENAI_API_KEY to
        OPENAI_BASE_URL, and nowhere else. Raises CommandError.
        """
        from batch_gateway.cli import profiles
        from batch_gateway.cli.batches.service import ServiceClient, base_url

        variables = os.environ
        profile = profiles.chosen(self.profile)
        saved = None if profile is None else profile.url
        given = variables.get("BATCH_GATEWAY_URL")
        theirs = variables.get("OPENAI_BASE_URL")
        first = (saved, given) if self.profile else (given, saved)
        where = base_url(self.url or first[0] or first[1] or theirs or DEFAULT_URL)
        key = self.api_key or (None if self.profile else variables.get("BATCH_GATEWAY_API_KEY"))
        headers = pairs(self.header, "--header")
        if profile is not None and base_url(profile.url) == where:
            key = key or profile.api_key
            headers = profile.headers | headers
        if not key and theirs and base_url(theirs) == where:
            key = variables.get("OPENAI_API_KEY")
        return ServiceClient(where, key, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Options of a new batch besides its file."""

    endpoint: Annotated[
        str | None, Option(help="Where the requests go; default: the first request's url.")
    ] = None
    window: Annotated[str, Option(help="Time until the deadline: 30m, 24h, 7d.")] = "24h"
    metadata: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="A note on the batch; may be given several times."),
    ] = None
    field: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=JSON",
            help="Any other field, such as priority=0 or dry_run=true; may be given several times.",
        ),
    ] = None

    def body(self, source: "InputSource") -> dict[str, Any]:
        """The request that creates the batch, without the file's id and the metadata.

        Raises BadParameter.
        """
        return {
            "completion_window": self.window,
            **fields(self.field),
            "endpoint": self.endpoint or source.first_url() or DEFAULT_ENDPOINT,
        }

    @property
    def notes(self) -> dict[str, str]:
        """The metadata. Raises BadParameter."""
        return pairs(self.metadata, "--metadata")


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
