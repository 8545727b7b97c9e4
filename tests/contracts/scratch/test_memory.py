"""A server without memory: calls are refused as a whole, and continue once there is room."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fixtures.redis import redis62_server, valkey_server
from fixtures.scratch import (
    BOB,
    HOUR,
    MINUTE,
    PAST,
    a_lease,
    a_ticket,
    drain,
    open_own,
    settle,
    sync,
)

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import ActivationId

pytestmark = pytest.mark.redis


async def limit(coordination: RedisCoordinationStore, *, full: bool) -> None:
    used = int((await coordination._client.info("memory"))["used_memory"])
    await coordination._client.config_set("maxmemory", str(used + 20_000 if full else 0))


@pytest.mark.parametrize("server", [valkey_server, redis62_server])
async def test_a_queue_that_is_filled_while_memory_runs_out_stays_whole(
    tmp_path: Path, server: Callable[..., object]
) -> None:
    with server(tmp_path) as url:  # type: ignore[attr-defined]
        coordination = open_own(url)
        await settle(coordination)
        entries = [
            a_ticket(f"batch_{n % 7}", n, model=f"m{n % 3}", urgent_after=PAST if n % 2 else None)
            for n in range(2000)
        ]
        await limit(coordination, full=True)
        refused = 0
        for start in range(0, len(entries), 10):
            try:
                await coordination.queue.push(entries[start : start + 10])
            except Unavailable:
                refused += 1
        for call in (
            coordination.queue.propose(reserve=MINUTE),
            coordination.once("x", HOUR),
            sync(coordination, "a", want=1),
            coordination.queue.lease(entries[0], a_lease(entries[0]), MINUTE),
            coordination.activations.enter(ActivationId("a"), maximum=1, ttl=MINUTE),
        ):
            with suppress(Unavailable):  # and nothing else
                await call
        await limit(coordination, full=False)

        assert refused > 0
        await coordination.queue.complete([entries[0].shard])
        depth = await coordination.queue.depth()
        await coordination.queue.push([*entries, a_ticket("batch_b", tenant=BOB)])
        drained = [entry.shard for entry in await drain(coordination, most=3000)]
        assert len(drained) == len(set(drained))
        assert len(drained) + depth.reserved == len(entries) + 1
        assert (await sync(coordination, "a", want=1)).slots == 1
        await coordination.close()
