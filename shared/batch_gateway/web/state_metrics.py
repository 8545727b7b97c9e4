"""The state of the whole service as Prometheus metrics.

Labels whose values users choose (models, tenants) are bounded: the largest are named, the rest is
one sum. Names cannot contain parentheses, so that sum is never taken for one of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from batch_gateway.core.limits import MonitorSignal, slots
from batch_gateway.core.model import BatchStatus
from batch_gateway.meters import OTHERS
from batch_gateway.ports.batches import Backlog
from batch_gateway.ports.coordination import PoolState
from batch_gateway.services.state_snapshot import CoordinationState, ServiceState

Name = TypeVar("Name", bound=str)

_NAMED = 50  # models and pools


def rendered(state: ServiceState, *, tenants: int) -> bytes:
    """``state`` in Prometheus' text format; at most so many ``tenants`` are named."""
    registry = CollectorRegistry()
    registry.register(_StateCollector(families(state, tenants=tenants)))
    return generate_latest(registry)


class _StateCollector(Collector):
    """Metrics that were made before."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def families(state: ServiceState, *, tenants: int) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "state_known",
        "1: the store responded and its metrics are present; 0: the store is unavailable.",
        "store",
        {"metadata": state.stored is not None, "scratch": state.shared is not None},
    )
    if state.stored is not None:
        counts = {status.value: state.stored.batches.get(status, 0) for status in BatchStatus}
        yield _gauge("batches", "Batches of all tenants by status.", "status", counts)
        yield from _backlog(state.stored.backlog, tenants)
        yield GaugeMetricFamily(
            "batch_gateway_pending_webhooks",
            "Pending webhook deliveries, retries included.",
            state.stored.pending_webhooks,
        )
        if state.stored.last_dead is not None:
            yield GaugeMetricFamily(
                "batch_gateway_last_dead_event_timestamp_seconds",
                "Time of the last stored dead letter.",
                state.stored.last_dead.timestamp(),
            )
    if state.unsent_for is not None:
        yield GaugeMetricFamily(
            "batch_gateway_oldest_unsent_event_seconds",
            "Age of the oldest event that the broker has not accepted, in seconds.",
            state.unsent_for.total_seconds(),
        )
    if state.slack is not None:
        yield GaugeMetricFamily(
            "batch_gateway_first_deadline_seconds",
            "Time until the first deadline of an open batch, in seconds; negative: it has passed.",
            state.slack.total_seconds(),
        )
    if state.shared is not None:
        yield from _shared(state.shared)


def _backlog(backlog: Backlog, tenants: int) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "backlog_requests",
        "Requests of running batches in shards that are not closed, by model.",
        "model",
        _bounded(backlog.requests, _NAMED),
    )
    yield _gauge(
        "tenant_open_batches",
        "Batches that have not ended, by tenant.",
        "tenant",
        _bounded(backlog.open_batches, tenants),
    )


def _shared(shared: CoordinationState) -> Iterator[GaugeMetricFamily]:
    depth = shared.depth
    yield _gauge(
        "storage_full",
        "1: a store has refused a write as full within the last ten seconds; 0: it has not.",
        "store",
        {store: store in shared.full for store in ("metadata", "files", "scratch")},
    )
    yield _gauge(
        "queue_shards",
        "Shards in the queue, by state: ready, reserved (proposed to an executor) or leased.",
        "state",
        {"ready": depth.ready, "reserved": depth.reserved, "leased": depth.leased},
    )
    yield _gauge(
        "activations",
        "Running activations, and pending wake-ups.",
        "state",
        {"running": shared.running, "pending": shared.pending},
    )
    yield from _pools(sorted(shared.pools, key=_size, reverse=True)[:_NAMED])


#: metric -> (help, its value of a pool)
_OF_POOLS: Mapping[str, tuple[str, Callable[[PoolState], float]]] = {
    "pool_limit": (
        "Limit of a pool (endpoint and model), in slots.",
        lambda pool: slots(pool.limit),
    ),
    "pool_granted": ("Slots of a pool that are granted to executors.", lambda pool: pool.granted),
    "pool_in_use": ("Running calls of a pool.", lambda pool: pool.in_use),
    "pool_wanted": (
        "Running calls of a pool, and calls that are ready to start.",
        lambda pool: pool.wanted,
    ),
    "pool_holders": ("Executors with slots of a pool.", lambda pool: pool.holders),
    "pool_aborted": (
        "Aborted calls of a pool since it was created.",
        lambda pool: pool.aborted,
    ),
}


def _pools(pools: Sequence[PoolState]) -> Iterator[GaugeMetricFamily]:
    for name, (about, value) in _OF_POOLS.items():
        yield _gauge(name, about, "pool", {pool.pool: value(pool) for pool in pools})
    yield from _watched(pools)
    brake = GaugeMetricFamily(
        "batch_gateway_pool_last_brake_timestamp_seconds",
        "Time at which a pool's limit was last lowered, by brake.",
        labels=["pool", "brake"],
    )
    for pool in pools:
        if pool.limit.last_brake is not None and pool.limit.braked_at is not None:
            labels = [pool.pool, pool.limit.last_brake.value]
            brake.add_metric(labels, pool.limit.braked_at.timestamp())
    yield brake


#: metric -> (help, its value of an engine monitor's signal); None: the signal has none.
_OF_SIGNALS: Mapping[str, tuple[str, Callable[[MonitorSignal], float | None]]] = {
    "engine_running": (
        "Running requests in a pool's engine, of all clients.",
        lambda signal: signal.running,
    ),
    "engine_waiting": (
        "Waiting requests in a pool's engine, of all clients.",
        lambda signal: signal.waiting,
    ),
    "engine_cache_used": (
        "Used share of the engine's KV cache, 0 to 1.",
        lambda signal: signal.cache,
    ),
    "probe_ttft_milliseconds": (
        "Time to first token of a pool's last probe, in milliseconds.",
        lambda signal: signal.ttft_ms,
    ),
}


def _watched(pools: Sequence[PoolState]) -> Iterator[GaugeMetricFamily]:
    """The last values that engine monitors have reported."""
    for name, (about, value) in _OF_SIGNALS.items():
        known = {pool.pool: value(pool.signal) for pool in pools if pool.signal is not None}
        told = {pool: seen for pool, seen in known.items() if seen is not None}
        yield _gauge(name, about, "pool", told)


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
