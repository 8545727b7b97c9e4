"""Selects lines of a pool's shards for calls, as the endpoint's circuit allows.

While the circuit is open, a trial call is made for the batch that has failed least, with a line
that was not tried yet. While it is closed, an isolated batch (``core.failing_batches``) has one
call at a time, with pauses.
"""

from collections.abc import Sequence

from batch_gateway.services.execute.circuit import EndpointCircuit
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.execute.line_in_flight import LineInFlight
from batch_gateway.services.execute.slot_scheduler import SlotScheduler


def ready(shards: Sequence[LeasedShard], circuit: EndpointCircuit, now: float) -> int:
    """Lines that need not wait; those of isolated batches keep no other work away."""
    isolated = circuit.batches.isolated
    return sum(shard.ready(now) for shard in shards if not isolated(shard.batch))


def startable(
    shards: Sequence[LeasedShard], circuit: EndpointCircuit, now: float, pool: str, *, calm: bool
) -> int:
    """Lines that could be started with slots enough; of a shard of an isolated batch, one."""
    found = 0
    for shard in shards:
        if circuit.allows_batch(shard.batch, now):
            lines = shard.startable(now, pool, calm=calm)
            found += min(lines, 1) if circuit.batches.isolated(shard.batch) else lines
    return found


def take(
    shards: Sequence[LeasedShard],
    circuit: EndpointCircuit,
    scheduler: SlotScheduler,
    now: float,
    pool: str,
    *,
    slots: int,
    calm: bool,
) -> LineInFlight | None:
    """The line to start in one of ``slots``; None: there is none."""
    trial = not circuit.closed

    def take_of(shard: LeasedShard) -> LineInFlight | None:
        if not circuit.allows_batch(shard.batch, now):
            return None
        return shard.take(now, pool, calm=calm, untried_first=trial)

    if not trial:
        return scheduler.next(shards, slots, take_of)
    failures = circuit.batches.failures
    for shard in sorted(shards, key=lambda shard: failures(shard.batch)):
        if (work := take_of(shard)) is not None:
            return work
    return None
