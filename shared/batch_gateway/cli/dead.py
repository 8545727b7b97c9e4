"""``batch-gateway dead``: lists undeliverable events, and sends them again.

The dead letter sink has put them into the metadata store. Every subscriber of an event gets it when
it is sent again; subscribers act on the state in the database, so that does no harm.
"""

import json as codec
from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from batch_gateway.cli.cluster.options import ClusterJobOption, ClusterOptions
from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.metadata_settings import MetadataStoreOption, on_store, settings_of
from batch_gateway.cli.output import AsJson, print_json
from batch_gateway.cli.tables import print_table, print_text

if TYPE_CHECKING:
    from batch_gateway.core.dead_letters import DeadLetter
    from batch_gateway.ports.metadata import MetadataStore

dead = typer.Typer(name="dead", help="Events that no subscriber has taken.", no_args_is_help=True)

_WAIT = timedelta(seconds=10)  # for the broker

Ids = Annotated[list[str] | None, Argument(help="As `list` prints them: dead_...")]
All = Annotated[bool, Option("--all", help="All that there are.")]
MOST = 10_000


@dead.command("list")
@report_errors
def list_(
    store: MetadataStoreOption,
    where: ClusterJobOption,
    place: ClusterOptions,
    limit: Annotated[int, Option(help="Most to print, the newest first.")] = 50,
    json: AsJson = False,
) -> None:
    """Print when each died, what it is, where it was refused, and the reason that was given."""
    if where.inside:
        _run_inside(place, ["list", f"--limit={limit}"], json=json)
        return
    found = on_store(store.data, lambda metadata: metadata.dead_letters.list(limit=limit))
    if json:
        for letter in found:
            print_json(_plain(letter), indent=None)
        return
    titles = ("ID", "DIED", "EVENT", "EVENT ID", "CODE", "SUBSCRIBER", "REASON")
    print_table(titles, map(_row, found))


def _row(letter: "DeadLetter") -> tuple[str, ...]:
    event, reason = letter.event, " ".join(_reason(letter).split())
    return (letter.id, _died(letter), event.type, event.id, letter.code, letter.target, reason)


def _died(letter: "DeadLetter") -> str:
    return f"{letter.died_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _reason(letter: "DeadLetter") -> str:
    """The reason as text, also of letters that an earlier release has stored as base64."""
    from batch_gateway.core.dead_letters import readable

    return readable(letter.reason)


@dead.command()
@report_errors
def show(
    letter: Annotated[str, Argument(help="As `list` prints it.")],
    store: MetadataStoreOption,
    where: ClusterJobOption,
    place: ClusterOptions,
    json: AsJson = False,
) -> None:
    """Print an event with its attributes and data, and why it died."""
    if where.inside:
        _run_inside(place, ["show", letter], json=json)
        return
    found = on_store(store.data, lambda metadata: _found(metadata, [letter]))[0]
    if json:
        print_json(_plain(found) | {"data": _data(found)})
        return
    for name, value in sorted(found.attributes.items()):
        print_text(f"{name}: {value}")
    print_text(f"died: {_died(found)}")
    print_text(f"target: {found.target}\ncode: {found.code}\nreason: {_reason(found)}\n")
    typer.echo(found.data.decode(errors="replace"))


def _plain(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "id": letter.id,
        "died_at": int(letter.died_at.timestamp()),
        "attributes": dict(letter.attributes),
        "target": letter.target,
        "code": letter.code,
        "reason": _reason(letter),
    }


def _data(letter: "DeadLetter") -> Any:
    """The event's data as JSON; as a text when it is none."""
    try:
        return codec.loads(letter.data)
    except (ValueError, RecursionError):
        return letter.data.decode(errors="replace")


@dead.command()
@report_errors
def replay(
    store: MetadataStoreOption,
    where: ClusterJobOption,
    place: ClusterOptions,
    letters: Ids = None,
    all_: All = False,
    to: Annotated[
        str | None, Option(help="URL of the broker; default: events.sink, K_SINK or the folder's.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Send events to the broker again; each goes from the list when the broker has it."""
    if where.inside:
        broker = [f"--to={to}"] if to else []
        _run_inside(place, ["replay", *broker, *_words(letters, all_)], json=json)
        return
    url = _broker(to, store.data)
    sent = on_store(store.data, lambda metadata: _replayed(metadata, letters, all_, url))
    _print_count(sent, "sent", json=json)


@dead.command()
@report_errors
def drop(
    store: MetadataStoreOption,
    where: ClusterJobOption,
    place: ClusterOptions,
    letters: Ids = None,
    all_: All = False,
    json: AsJson = False,
) -> None:
    """Delete events for good."""
    if where.inside:
        _run_inside(place, ["drop", *_words(letters, all_)], json=json)
        return

    async def work(metadata: "MetadataStore") -> int:
        from batch_gateway.cli.audit import recorded
        from batch_gateway.core.audit import AuditOutcome

        dropped = 0
        for each in await _chosen(metadata, letters, all_):
            if await metadata.dead_letters.drop(each.id):
                dropped += 1
                await recorded(metadata, "dead_letter.delete", AuditOutcome.OK, target=each.id)
        return dropped

    _print_count(on_store(store.data, work), "dropped", json=json)


def _print_count(count: int, verb: str, *, json: bool) -> None:
    if json:
        print_json({verb: count})
    else:
        typer.echo(f"{count} {verb}")


def _words(letters: Sequence[str] | None, all_: bool) -> list[str]:
    return [*(["--all"] if all_ else []), *(letters or [])]


def _run_inside(place: ClusterOptions, words: list[str], *, json: bool) -> None:
    from batch_gateway.cli.cluster.pod_jobs import print_inside

    print_inside(["dead", *words, *(["--json"] if json else [])], place)


async def _replayed(
    metadata: "MetadataStore", letters: Sequence[str] | None, all_: bool, url: str
) -> int:
    from batch_gateway.adapters.events_http import HttpEventSink
    from batch_gateway.cli.audit import recorded
    from batch_gateway.core.audit import AuditOutcome
    from batch_gateway.services.dead_letters import replay

    sink = HttpEventSink(url, keys=(), timeout=_WAIT)
    chosen = await _chosen(metadata, letters, all_)
    try:
        for letter in reversed(chosen):  # the oldest first
            await replay(letter, metadata.dead_letters, sink)
            await recorded(metadata, "dead_letter.replay", AuditOutcome.OK, target=letter.id)
    finally:
        await sink.close()
    return len(chosen)


async def _chosen(
    metadata: "MetadataStore", letters: Sequence[str] | None, all_: bool
) -> "list[DeadLetter]":
    if bool(letters) == all_:
        raise typer.BadParameter("name events, or say --all")
    if all_:
        return list(await metadata.dead_letters.list(limit=MOST))
    return await _found(metadata, letters or [])


async def _found(metadata: "MetadataStore", letters: Sequence[str]) -> "list[DeadLetter]":
    found = []
    for name in letters:
        letter = await metadata.dead_letters.get(name)
        if letter is None:
            raise typer.BadParameter(f"there is no dead event {name}")
        found.append(letter)
    return found


def _broker(to: str | None, data: Path | None) -> str:
    """Where events go. Raises BadParameter when nothing names the broker."""
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

    from batch_gateway.local.broker.config import BrokerProcessConfig

    try:
        config = msgspec.json.decode(
            (data / "run" / "broker.json").read_bytes(), type=BrokerProcessConfig
        )
    except OSError:
        raise typer.BadParameter(f"no platform runs in {data}") from None
    return f"http://127.0.0.1:{config.port}{config.brokers[0].path}"
