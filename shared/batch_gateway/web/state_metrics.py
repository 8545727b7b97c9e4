"""The state of the whole service as Prometheus metrics.

Labels whose values users choose (models, tenants) are bounded: the largest are named, the rest is
one sum. Names cannot contain parentheses, so that sum is never taken for one of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from batch_gateway.core.limits import slots
from batch_gateway.core.model import BatchStatus
from batch_gateway.ports.metadata import Backlog
from batch_gateway.ports.scratch import PoolState
from batch_gateway.services.observe import Shared, State

Name = TypeVar("Name", bound=str)

OTHERS = "(others)"
_NAMED = 50  # models and pools


def rendered(state: State, *, tenants: int) -> bytes:
    """``state`` in Prometheus' text format; at most so many ``tenants`` are named."""
    registry = CollectorRegistry()
    registry.register(_Told(families(state, tenants=tenants)))
    return generate_latest(registry)


class _Told(Collector):
    """Metrics that were made before."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def families(state: State, *, tenants: int) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "state_known",
        "1 when the store has told its part of the state, 0 when it does not answer.",
        "store",
        {"metadata": state.stored is not None, "scratch": state.shared is not None},
    )
    if state.stored is not None:
        counts = {status.value: state.stored.batches.get(status, 0) for status in BatchStatus}
        yield _gauge("batches", "Batches of all tenants by status.", "status", counts)
        yield from _backlog(state.stored.backlog, tenants)
    if state.slack is not None:
        yield GaugeMetricFamily(
            "batch_gateway_first_deadline_seconds",
            "Time until the first deadline of a batch that is not done; negative: it has passed.",
            state.slack.total_seconds(),
        )
    if state.shared is not None:
        yield from _shared(state.shared)


def _backlog(backlog: Backlog, tenants: int) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "backlog_requests",
        "Requests of running batches that are not answered in a closed shard, by model.",
        "model",
        _bounded(backlog.requests, _NAMED),
    )
    yield _gauge(
        "tenant_open_batches",
        "Batches that have not ended, by tenant.",
        "tenant",
        _bounded(backlog.open_batches, tenants),
    )


def _shared(shared: Shared) -> Iterator[GaugeMetricFamily]:
    depth = shared.depth
    yield _gauge(
        "queue_shards",
        "Shards in the queue: ready, proposed to an executor, or leased by one.",
        "state",
        {"ready": depth.ready, "reserved": depth.reserved, "leased": depth.leased},
    )
    yield _gauge(
        "activations",
        "Activations that are open, and wake-ups on their way.",
        "state",
        {"running": shared.running, "pending": shared.pending},
    )
    yield from _pools(sorted(shared.pools, key=_size, reverse=True)[:_NAMED])


def _pools(pools: Iterable[PoolState]) -> Iterator[GaugeMetricFamily]:
    pools = list(pools)
    limits = {pool.pool: slots(pool.limit) for pool in pools}
    yield _gauge("pool_limit", "Slots of a pool (endpoint and model).", "pool", limits)
    granted = {pool.pool: pool.granted for pool in pools}
    yield _gauge("pool_granted", "Slots of a pool that are lent to executors.", "pool", granted)
    holders = {pool.pool: pool.holders for pool in pools}
    yield _gauge("pool_holders", "Executors that hold slots of a pool.", "pool", holders)
    brake = GaugeMetricFamily(
        "batch_gateway_pool_last_brake",
        "Always 1: the label says what lowered the pool's limit last.",
        labels=["pool", "brake"],
    )
    for pool in pools:
        if pool.limit.last_brake is not None:
            brake.add_metric([pool.pool, pool.limit.last_brake], 1)
    yield brake


def _size(pool: PoolState) -> tuple[int, float]:
    return pool.granted, pool.limit.limit


def _bounded(counts: Mapping[Name, int], most: int) -> dict[str, int]:
    """The ``most`` largest by name, and the sum of the rest."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named: dict[str, int] = dict(ordered[:most])
    if rest := sum(count for _, count in ordered[most:]):
        named[OTHERS] = rest
    return named


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"batch_gateway_{name}", about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], float(count))
    return family
