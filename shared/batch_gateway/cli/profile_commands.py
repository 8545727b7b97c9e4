"""``login`` and ``config``: the service and the API key that commands use."""

from typing import Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli import profiles as stored
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_table

config = typer.Typer(
    name="config", help="Profiles: services by name, with their keys.", no_args_is_help=True
)

#: The variable by which a shell requests completions.
COMPLETION = "_BATCH_GATEWAY_COMPLETE"

Name = Annotated[str, Argument(metavar="NAME", help="As `config list` prints it.")]


@report_errors
def login(
    name: Annotated[str, Option("--profile", metavar="NAME", help="Its name.")] = stored.DEFAULT,
    url: Annotated[
        str | None, Option(metavar="URL", help="Where the service is; asked for if left out.")
    ] = None,
    api_key: Annotated[
        str | None,
        Option(metavar="KEY", help="Asked for if left out; - takes a line of standard input."),
    ] = None,
    header: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUE", help="Header for a gateway in front; may be repeated."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Keep a service's URL and key as a profile, which the other commands then use."""
    import sys

    from batch_gateway.cli.batches.options import DEFAULT_URL, pairs
    from batch_gateway.cli.batches.service import ServiceClient, base_url

    headers = pairs(header, "--header")
    where = base_url(url or typer.prompt("URL of the service", default=DEFAULT_URL, err=True))
    if api_key == "-":
        api_key = sys.stdin.readline().strip()
    elif api_key is None:
        api_key = typer.prompt(
            "API key (empty: none)", default="", hide_input=True, show_default=False, err=True
        )
    with ServiceClient(where, api_key or None, headers) as service:
        service.get("/models")
    profile = stored.ConnectionProfile(url=where, api_key=api_key or None, headers=headers)
    changed = stored.load().with_profile(name, profile)
    stored.save(changed)
    if json:
        print_json(_plain(name, changed))
    else:
        typer.echo(f"profile {name}: {where} ({stored.path()})", err=True)


@config.command("list")
@report_errors
def list_(json: AsJson = False) -> None:
    """Print the profiles, without their keys; * is the current one."""
    found = stored.load()
    if json:
        for name in found.by_name:
            print_json(_plain(name, found), indent=None)
        return
    rows = (
        (
            "*" if name == found.current else "",
            name,
            profile.url,
            "yes" if profile.api_key else "no",
        )
        for name, profile in found.by_name.items()
    )
    print_table(("", "PROFILE", "URL", "KEY"), rows)


def _plain(name: str, profiles: stored.ConnectionProfiles) -> dict[str, Any]:
    """A profile for programs, without its key."""
    profile = profiles.get(name)
    return {
        "profile": name,
        "current": name == profiles.current,
        "url": profile.url,
        "api_key": profile.api_key is not None,
        "headers": sorted(profile.headers),
    }


@config.command()
@report_errors
def use(name: Name, json: AsJson = False) -> None:
    """Make a profile the current one."""
    found = stored.load()
    changed = found.with_profile(name, found.get(name))
    stored.save(changed)
    if json:
        print_json(_plain(name, changed))
    else:
        typer.echo(f"profile {name}: {found.get(name).url}", err=True)


@config.command()
@report_errors
def delete(name: Name, json: AsJson = False) -> None:
    """Forget a profile and its key."""
    stored.save(stored.load().without(name))
    if json:
        print_json({"profile": name, "deleted": True})
    else:
        typer.echo(f"{name} deleted", err=True)


@config.command()
@report_errors
def path(json: AsJson = False) -> None:
    """Print where the profiles are kept."""
    if json:
        print_json({"path": str(stored.path())})
    else:
        typer.echo(str(stored.path()))


@report_errors
def print_completion(
    shell: Annotated[str, Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the completion script of a shell: `source <(batch-gateway completion bash)`."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell not in ("bash", "zsh", "fish", "powershell", "pwsh"):
        raise CommandError(f"no completion for {shell}: bash, zsh, fish or powershell", 2)
    typer.echo(
        get_completion_script(prog_name="batch-gateway", complete_var=COMPLETION, shell=shell)
    )


def add_commands(app: typer.Typer, *, completion: bool = True) -> None:
    """``completion``: not for a plugin, whose words are completed by the command that runs it."""
    app.command(rich_help_panel="Profiles")(login)
    app.add_typer(config, rich_help_panel="Profiles")
    if completion:
        app.command("completion", rich_help_panel="Profiles")(print_completion)
