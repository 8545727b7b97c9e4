"""The queue is rebuilt after a wipe at any moment: no ready shard is lost or proposed twice."""

import uuid
from pathlib import Path

from fixtures.metadata import T0, a_part, a_tally, planned
from fixtures.scratch import HOUR, drain, open_own
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.adapters.sql import open_sql
from batch_gateway.core.ids import ActivationId, ShardId
from batch_gateway.core.model import Batch, LeaseRef, QueueEntry, ShardState
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.maintenance.rebuild import QueueRebuilder, ensure_generation

HOLDER = ActivationId("holder")
VERBS = ["plan", "plan, and die", "claim", "claim", "finish", "release", "wipe", "rebuild"]


class Play:
    """Planners, executors and janitors on one database and one coordination store."""

    def __init__(self, metadata: MetadataStore, coordination: RedisCoordinationStore) -> None:
        self.metadata = metadata
        self.coordination = coordination
        self.batches: list[Batch] = []
        self.held: dict[ShardId, tuple[QueueEntry, LeaseRef]] = {}

    async def step(self, verb: str) -> None:
        match verb:
            case "plan" | "plan, and die":
                batch = await planned(self.metadata, shards=3)
                self.batches.append(batch)
                if verb == "plan":
                    ready = await self.metadata.shards.ready(after=None, limit=1000)
                    mine = [t for t in ready if t.shard.startswith(f"{batch.id}.")]
                    await self.coordination.queue.push(mine)
            case "claim":
                entry = await self.coordination.queue.propose(reserve=HOUR)
                if entry is None:
                    return
                lease = await self.metadata.shards.claim(
                    entry.shard, holder=HOLDER, token="t", now=T0
                )
                assert lease is not None, f"{entry.shard} was proposed and is not ready"
                await self.coordination.queue.lease(entry, lease.ref, HOUR)
                self.held[entry.shard] = entry, lease.ref
            case "finish" if self.held:
                shard, (_, lease_ref) = self.held.popitem()
                await self.metadata.shards.finish(
                    lease_ref, [a_part()], a_tally(), now=T0, events=[]
                )
                await self.coordination.queue.complete([shard])
            case "release" if self.held:
                _, (entry, lease_ref) = self.held.popitem()
                await self.metadata.shards.release(lease_ref, [], a_tally(0), now=T0, events=[])
                await self.coordination.queue.release(entry, refund=0.5)
            case "wipe":
                client, mine = self.coordination._client, f"{{{self.coordination.prefix}}}:*"
                if keys := [key async for key in client.scan_iter(mine)]:
                    await client.delete(*keys)
            case "rebuild":
                await self.rebuild()

    async def rebuild(self) -> None:
        """As each sweep does."""
        assert await ensure_generation(self.metadata, self.coordination) is not None
        await QueueRebuilder(self.metadata, self.coordination).push()

    async def ready(self) -> list[ShardId]:
        return sorted(
            [
                shard.id
                for batch in self.batches
                async for shard in self.metadata.shards.of_batch(batch.id)
                if shard.state is ShardState.READY
            ]
        )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(verbs=st.lists(st.sampled_from(VERBS), max_size=30))
async def test_after_a_rebuild_each_ready_shard_is_proposed_exactly_once(
    redis_url: str,
    _sqlite_template: Path,  # noqa: PT019 - its value is used
    tmp_path: Path,
    verbs: list[str],
) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.db"  # its own for each example
    path.write_bytes(_sqlite_template.read_bytes())
    metadata = await open_sql(f"sqlite+aiosqlite:///{path}", pool_size=1, migrate=False)
    coordination = open_own(redis_url)
    play = Play(metadata, coordination)
    try:
        for verb in verbs:
            await play.step(verb)
        await play.rebuild()

        proposed = sorted(entry.shard for entry in await drain(coordination))
        assert proposed == await play.ready()
    finally:
        await metadata.close()
        await coordination.close()
