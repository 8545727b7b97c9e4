"""Whatever happens in whatever order: no shard is lost, doubled or out of order, and no tenant
starves."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fixtures.scratch import (
    HOUR,
    MINUTE,
    NO_TIME,
    PAST,
    T0,
    a_lease,
    a_ticket,
    drain,
    open_own,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import BatchId, ShardId, TenantId
from batch_gateway.core.model import QueueEntry
from batch_gateway.ports.shard_queue import QueueDepth

MODELS = ("llama", "qwen")
TICKETS = {
    entry.shard: entry
    for batch in range(5)
    for index in range(4)
    if (
        entry := a_ticket(
            f"batch_{batch}",
            index,
            tenant=TenantId(f"t{batch % 3}"),
            model=MODELS[index % 2] if batch == 4 else MODELS[batch % 2],
            cost=10 * batch,
            priority=batch % 2,
            deadline=T0 + batch * HOUR,
            urgent_after=PAST if batch == 3 else None,
        )
    )
}
SHARDS = list(TICKETS)

each_server = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(st.sampled_from(SHARDS), max_size=8)),
        st.tuples(st.just("propose"), st.lists(st.sampled_from(MODELS), max_size=1)),
        st.tuples(st.just("glance"), st.lists(st.sampled_from(MODELS), max_size=1)),
        st.tuples(
            st.sampled_from(["lease", "renew", "release", "complete", "discard"]),
            st.sampled_from(SHARDS),
        ),
        st.tuples(st.just("withdraw"), st.sampled_from([f"batch_{n}" for n in range(5)])),
        st.tuples(st.just("wipe"), st.none()),
    ),
    max_size=40,
)


@asynccontextmanager
async def opened(url: str, **options: object) -> AsyncIterator[RedisCoordinationStore]:
    coordination = open_own(url, **options)  # type: ignore[arg-type]
    try:
        yield coordination
    finally:
        await coordination.close()


class Model:
    """What the queue should know: the state of each shard, no order."""

    def __init__(self) -> None:
        self.states: dict[ShardId, str] = {}
        self.epochs = Counter[ShardId]()  # the database's: they only rise

    def ready(self) -> set[ShardId]:
        return {shard for shard, state in self.states.items() if state == "ready"}

    def depth(self) -> QueueDepth:
        counts = Counter(self.states.values())
        return QueueDepth(
            ready=counts["ready"], leased=counts["leased"], reserved=counts["reserved"]
        )


async def step(coordination: RedisCoordinationStore, model: Model, verb: str, what: object) -> None:
    queue = coordination.queue
    match verb, what:
        case "push", list(shards):
            new = {shard for shard in shards if shard not in model.states}
            assert await queue.push([TICKETS[shard] for shard in shards]) == len(new)
            model.states.update(dict.fromkeys(new, "ready"))
        case (("propose" | "glance"), list(avoid)):
            reserve = NO_TIME if verb == "glance" else HOUR
            found = await queue.propose(avoid=avoid, reserve=reserve)
            allowed = {s for s in model.ready() if TICKETS[s].model not in avoid}
            assert (found is None) == (not allowed)
            if found is not None:
                assert found == TICKETS[found.shard]
                assert found.shard in allowed
                assert not [s for s in allowed if _before(TICKETS[s], found)]
                if verb == "propose":
                    model.states[found.shard] = "reserved"
        case "lease", str(shard):
            model.epochs[ShardId(shard)] += 1
            entry = TICKETS[ShardId(shard)]
            await queue.lease(entry, a_lease(entry, model.epochs[entry.shard]), HOUR)
            model.states[entry.shard] = "leased"
        case "renew", str(shard):  # by the last holder, perhaps replaced long ago
            entry = TICKETS[ShardId(shard)]
            if model.states.get(entry.shard) == "leased":
                await queue.renew([a_lease(entry, model.epochs[entry.shard])], HOUR)
        case "release", str(shard):
            await queue.release(TICKETS[ShardId(shard)], refund=0.5)
            model.states[ShardId(shard)] = "ready"
        case "complete", str(shard):
            await queue.complete([ShardId(shard)])
            model.states.pop(ShardId(shard), None)
        case "discard", str(shard):
            entry = TICKETS[ShardId(shard)]
            await queue.discard([a_lease(entry, model.epochs[entry.shard])])
            if model.states.get(entry.shard) == "leased":
                del model.states[entry.shard]
        case "withdraw", str(batch):
            gone = {s for s in model.ready() if s.startswith(f"{batch}.")}
            assert await queue.withdraw(BatchId(batch)) == len(gone)
            for shard in gone:
                del model.states[shard]
        case "wipe", None:
            keys = [
                key async for key in coordination._client.scan_iter(f"{{{coordination.prefix}}}:*")
            ]
            if keys:
                await coordination._client.delete(*keys)
            model.states.clear()


def _before(one: QueueEntry, other: QueueEntry) -> bool:
    """Whether ``one`` stands before ``other`` in the same batch."""
    batch, _, index = one.shard.partition(".")
    other_batch, _, other_index = other.shard.partition(".")
    return batch == other_batch and int(index) < int(other_index)


@each_server
@given(steps=steps)
async def test_the_queue_agrees_with_its_model(
    redis_url: str, steps: list[tuple[str, object]]
) -> None:
    async with opened(redis_url) as coordination:
        model = Model()

        for verb, what in steps:
            await step(coordination, model, verb, what)
            assert await coordination.queue.depth() == model.depth()

        drained = [entry.shard for entry in await drain(coordination)]
        assert sorted(drained) == sorted(model.ready())


@each_server
@given(
    weights=st.lists(st.integers(1, 8), min_size=2, max_size=5),
    costs=st.lists(st.integers(1, 50), min_size=5, max_size=5),
)
async def test_tenants_share_by_weight_whatever_their_shards_cost(
    valkey_url: str, weights: list[int], costs: list[int]
) -> None:
    tenants = {TenantId(f"t{n}"): float(weight) for n, weight in enumerate(weights)}
    async with opened(valkey_url, weights=tenants) as coordination:
        for (tenant, _), cost in zip(tenants.items(), costs, strict=False):
            await coordination.queue.push(
                [a_ticket(f"batch_{tenant}", n, tenant=tenant, cost=cost) for n in range(120)]
            )

        served = Counter[TenantId]()
        for _ in range(100):
            entry = await coordination.queue.propose(reserve=HOUR)
            assert entry is not None
            served[entry.tenant] += entry.cost

        # No tenant is ahead of another one by more than one of its own shards.
        times = {tenant: served[tenant] / weight for tenant, weight in tenants.items()}
        for (tenant, weight), cost in zip(tenants.items(), costs, strict=False):
            assert times[tenant] <= min(times.values()) + cost / weight + 1e-6


@each_server
@given(urgent=st.lists(st.booleans(), min_size=2, max_size=6))
async def test_nobody_starves(valkey_url: str, urgent: list[bool]) -> None:
    async with opened(valkey_url) as coordination:
        tenants = [TenantId(f"t{n}") for n in range(len(urgent))]
        for tenant, hurry in zip(tenants, urgent, strict=True):
            await coordination.queue.push(
                [
                    a_ticket(
                        f"batch_{tenant}", n, tenant=tenant, urgent_after=PAST if hurry else None
                    )
                    for n in range(60)
                ]
            )

        turns = [await coordination.queue.propose(reserve=MINUTE) for _ in range(8 * len(tenants))]

        assert {entry.tenant for entry in turns if entry} == set(tenants)
