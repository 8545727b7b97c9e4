"""``batch-gateway dead``: look at events that no subscriber has taken, and send them again.

The dead letter sink has put them into the metadata store. Sent again, an event is heard by all of
its subscribers, which they bear: they go by what the database says.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer import Argument, Option

from batch_gateway.cli.cluster.options import DEFAULT_NAMESPACE, Context, Kubeconfig, Namespace
from batch_gateway.cli.failing import reported
from batch_gateway.cli.stored import Data, settings_of

if TYPE_CHECKING:
    from batch_gateway.core.dead_letters import DeadLetter
    from batch_gateway.ports.dead_letters import DeadLetterRows

T = TypeVar("T")

dead = typer.Typer(name="dead", help="Events that no subscriber has taken.", no_args_is_help=True)

_WAIT = timedelta(seconds=10)  # for the broker

Inside = Annotated[
    bool,
    Option("--inside", help="Of the service on a cluster, by a Job there with its settings."),
]
Ids = Annotated[list[str] | None, Argument(help="As `list` prints them: dead_...")]
All = Annotated[bool, Option("--all", help="All that there are.")]
MOST = 10_000


@dead.command("list")
@reported
def list_(
    limit: Annotated[int, Option(help="Most to print, the newest first.")] = 50,
    data: Data = None,
    inside: Inside = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print when each died, what it is, where it was refused, and the reason that was given."""
    if inside:
        _print_inside(["list", f"--limit={limit}"], namespace, kubeconfig, context)
        return
    for letter in _run(data, lambda rows: rows.list(limit=limit)):
        when = f"{letter.died_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        event, reason = letter.event, " ".join(_reason(letter).split())
        fields = (letter.id, when, event.type, event.id, letter.code, letter.target, reason)
        typer.echo("\t".join(fields))


def _reason(letter: "DeadLetter") -> str:
    """The reason as text, also of letters that an earlier release has stored as base64."""
    from batch_gateway.core.dead_letters import readable

    return readable(letter.reason)


@dead.command()
@reported
def show(
    letter: Annotated[str, Argument(help="As `list` prints it.")],
    data: Data = None,
    inside: Inside = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print an event with its attributes and data, and why it died."""
    if inside:
        _print_inside(["show", letter], namespace, kubeconfig, context)
        return
    found = _run(data, lambda rows: _found(rows, [letter]))[0]
    for name, value in sorted(found.attributes.items()):
        typer.echo(f"{name}: {value}")
    typer.echo(f"died: {found.died_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    typer.echo(f"target: {found.target}\ncode: {found.code}\nreason: {_reason(found)}\n")
    typer.echo(found.data.decode(errors="replace"))


@dead.command()
@reported
def replay(
    letters: Ids = None,
    all_: All = False,
    to: Annotated[
        str | None, Option(help="URL of the broker; default: events.sink, K_SINK or the folder's.")
    ] = None,
    data: Data = None,
    inside: Inside = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Send events to the broker again; each goes from the list when the broker has it."""
    if inside:
        broker = [f"--to={to}"] if to else []
        _print_inside(["replay", *broker, *_words(letters, all_)], namespace, kubeconfig, context)
        return
    sent = _run(data, lambda rows: _replayed(rows, letters, all_, _broker(to, data)))
    typer.echo(f"{sent} sent")


@dead.command()
@reported
def drop(
    letters: Ids = None,
    all_: All = False,
    data: Data = None,
    inside: Inside = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Delete events for good."""
    if inside:
        _print_inside(["drop", *_words(letters, all_)], namespace, kubeconfig, context)
        return

    async def work(rows: "DeadLetterRows") -> int:
        return sum([await rows.drop(each.id) for each in await _chosen(rows, letters, all_)])

    typer.echo(f"{_run(data, work)} dropped")


def _words(letters: list[str] | None, all_: bool) -> list[str]:
    return [*(["--all"] if all_ else []), *(letters or [])]


def _print_inside(
    words: list[str], namespace: str, kubeconfig: str | None, context: str | None
) -> None:
    from batch_gateway.cli.cluster.inside import print_inside

    print_inside(["dead", *words], namespace, kubeconfig, context)


async def _replayed(rows: "DeadLetterRows", letters: list[str] | None, all_: bool, url: str) -> int:
    from batch_gateway.adapters.events_http import HttpSink
    from batch_gateway.services.dead_letters import replay

    sink = HttpSink(url, keys=(), timeout=_WAIT)
    chosen = await _chosen(rows, letters, all_)
    try:
        for letter in reversed(chosen):  # the oldest first
            await replay(letter, rows, sink)
    finally:
        await sink.close()
    return len(chosen)


async def _chosen(
    rows: "DeadLetterRows", letters: list[str] | None, all_: bool
) -> "list[DeadLetter]":
    if bool(letters) == all_:
        raise typer.BadParameter("name events, or say --all")
    return list(await rows.list(limit=MOST)) if all_ else await _found(rows, letters or [])


async def _found(rows: "DeadLetterRows", letters: list[str]) -> "list[DeadLetter]":
    found = []
    for name in letters:
        letter = await rows.get(name)
        if letter is None:
            raise typer.BadParameter(f"there is no dead event {name}")
        found.append(letter)
    return found


def _broker(to: str | None, data: Path | None) -> str:
    """Where events go. Raises BadParameter when nobody has said."""
    if to is not None:
        return to
    if data is not None:
        return _broker_of(data)
    from batch_gateway.wiring.sink import broker_url

    url = broker_url(settings_of(None))
    if url is None:
        raise typer.BadParameter("name the broker with --to, or set events.sink or K_SINK")
    return url


def _broker_of(data: Path) -> str:
    """The broker of the platform that runs, or ran, in the folder ``data``."""
    import msgspec

    from batch_gateway.local.broker.config import Config

    try:
        config = msgspec.json.decode((data / "run" / "broker.json").read_bytes(), type=Config)
    except OSError:
        raise typer.BadParameter(f"no platform runs in {data}") from None
    return f"http://127.0.0.1:{config.port}{config.brokers[0].path}"


def _run(data: Path | None, work: "Callable[[DeadLetterRows], Awaitable[T]]") -> T:
    """What ``work`` returns, done on the store; an error is one line and ends the command."""
    from batch_gateway.core.errors import BatchGatewayError

    try:
        return asyncio.run(_done(data, work))
    except BatchGatewayError as error:
        typer.echo(f"batch-gateway: {error}", err=True)
        raise typer.Exit(1) from error


async def _done(data: Path | None, work: "Callable[[DeadLetterRows], Awaitable[T]]") -> T:
    from batch_gateway.wiring.stores import open_metadata

    store = await open_metadata(settings_of(data))
    try:
        await store.check()
        return await work(store.dead_letters)
    finally:
        await store.close()
