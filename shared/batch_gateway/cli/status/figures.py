"""The state of the service, read from its metrics page."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_gateway.cli.errors import REFUSED, UNREACHABLE, CommandError

if TYPE_CHECKING:
    from batch_gateway.settings import Settings

#: name without prefix -> the values of its labels, in the order of their names -> value
Values = Mapping[tuple[str, ...], float]
_PREFIX = "batch_gateway_"
_UNSENT_S = 10.0  # a younger event may just be on its way


@dataclass(frozen=True, slots=True)
class StatusFigures:
    by_name: Mapping[str, Values] = field(default_factory=dict)

    def of(self, name: str) -> Values:
        return self.by_name.get(name, {})

    def plain(self) -> dict[str, list[dict[str, object]]]:
        """For JSON: every figure with the values of its labels, in the order of their names."""
        return {
            name: [{"labels": labels, "value": value} for labels, value in values.items()]
            for name, values in self.by_name.items()
        }

    def one(self, name: str, *labels: str) -> float | None:
        return self.of(name).get(labels)


def parsed(text: str) -> StatusFigures:
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(_PREFIX):
                labels = tuple(value for _, value in sorted(sample.labels.items()))
                found.setdefault(sample.name.removeprefix(_PREFIX), {})[labels] = sample.value
    return StatusFigures(found)


def from_page(url: str, token: str | None) -> StatusFigures:
    """The state from the API at ``url``. Raises CommandError."""
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    page = f"{url.rstrip('/').removesuffix('/v1')}/metrics"
    try:
        answer = httpx.get(page, headers=headers, timeout=20, verify=page.startswith("https:"))
    except httpx.HTTPError as error:
        raise CommandError(f"{page} does not answer: {error}", UNREACHABLE) from error
    if answer.status_code != 200:
        reason = " ".join(answer.text.split())[:200]
        raise CommandError(f"{page} answers {answer.status_code}: {reason}", REFUSED)
    return parsed(answer.text)


def from_stores() -> StatusFigures:
    """The state from the stores that the settings name. Raises CommandError."""
    from batch_gateway.cli.metadata_settings import settings_of

    return parsed(asyncio.run(_looked(settings_of(None))))


async def _looked(settings: "Settings") -> str:
    from contextlib import AsyncExitStack

    from batch_gateway.services.state_snapshot import StateReader
    from batch_gateway.web.state_metrics import rendered
    from batch_gateway.wiring.runtime import SystemClock
    from batch_gateway.wiring.stores import open_metadata, open_scratch_server

    async with AsyncExitStack() as stack:
        metadata = await open_metadata(settings)
        stack.push_async_callback(metadata.close)
        coordination = open_scratch_server(settings)
        stack.push_async_callback(coordination.close)
        state = await StateReader(metadata, coordination, SystemClock()).state()
    return rendered(state, tenants=settings.metrics.tenants).decode()


#: Label of a metric -> name of the store.
_STORES = {
    "metadata": "metadata store",
    "files": "file store",
    "scratch": "coordination store",
}


def described(figures: StatusFigures) -> Iterator[str]:
    """The state, for people."""
    from batch_gateway.cli.tables import columns

    for store in ("metadata", "scratch"):
        if figures.one("state_known", store) == 0:
            yield f"the {_STORES[store]} does not answer"
    for (store,), full in figures.of("storage_full").items():
        if full:
            yield f"the {_STORES.get(store, store)} is full: batches wait, uploads are refused"
    batches = {k: n for (k,), n in figures.of("batches").items() if n}
    if figures.of("batches"):
        yield "batches       " + (_counts(batches) or "none")
    if (slack := figures.one("first_deadline_seconds")) is not None:
        yield "deadline      " + (
            f"first in {_span(slack)}" if slack >= 0 else f"the first is {_span(-slack)} overdue"
        )
    if (age := figures.one("oldest_unsent_event_seconds")) is not None and age >= _UNSENT_S:
        yield f"events        the broker has not accepted the oldest one for {_span(age)}"
    if figures.of("queue_shards"):
        yield "queue         " + _counts(_plain(figures.of("queue_shards"))) + " shards"
        yield "activations   " + _counts(_plain(figures.of("activations")))
    for (model,), requests in sorted(figures.of("backlog_requests").items()):
        yield f"backlog       {requests:.0f} requests for {model or 'no model'}"
    for (tenant,), count in sorted(figures.of("tenant_open_batches").items()):
        yield f"tenant        {tenant}: {count:.0f} open batches"
    if figures.of("pool_limit"):
        yield ""
        yield from columns([_POOL_TITLES, *_pools(figures)])


_POOL_TITLES = ("POOL", "LIMIT", "GRANTED", "IN USE", "WANTED", "EXECUTORS", "LAST BRAKE")


def _pools(figures: StatusFigures) -> Iterator[tuple[str, ...]]:
    from datetime import UTC, datetime

    brakes = {
        pool: f"{brake} at {datetime.fromtimestamp(when, UTC):%H:%M:%SZ}"
        for (brake, pool), when in figures.of("pool_last_brake_timestamp_seconds").items()
    }
    for (pool,) in sorted(figures.of("pool_limit")):
        names = ("limit", "granted", "in_use", "wanted", "holders")
        numbers = (figures.one(f"pool_{name}", pool) or 0 for name in names)
        yield (pool, *(f"{number:.0f}" for number in numbers), brakes.get(pool, "-"))


def _plain(values: Values) -> dict[str, float]:
    return {label: value for (label,), value in values.items()}


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{count:.0f} {name}" for name, count in counts.items())


def _span(seconds: float) -> str:
    """A duration in the largest unit that it has at least two of."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
