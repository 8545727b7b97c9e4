"""The coordination store on a Redis cluster, and on a primary that Sentinels watch."""

import asyncio
from pathlib import Path

import pytest
from fixtures.redis_groups import redis_cluster, redis_with_sentinels
from fixtures.scratch import HOUR, a_ticket, open_own, sync

from batch_gateway.adapters import redis_locator
from batch_gateway.adapters.redis_coordination import RedisCoordinationStore, server
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import BatchId


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let answers take long, as they may on a busy machine."""
    for module, name in (
        (server, "ANSWER_TIMEOUT_S"),
        (server, "CONNECT_TIMEOUT_S"),
        (redis_locator, "TIMEOUT_S"),
    ):
        monkeypatch.setattr(module, name, 30.0)


async def works(coordination: RedisCoordinationStore, word: str) -> None:
    """Single commands, scripts and subscriptions; each at most once unavailable meanwhile."""
    async with asyncio.timeout(60):
        while True:
            try:
                await coordination.once(f"first of {word}", HOUR)
                break
            except Unavailable:
                await asyncio.sleep(0.05)
        assert await asyncio.gather(
            *(coordination.once(f"{word}{n}", HOUR) for n in range(50))
        ) == ([True] * 50)
        await coordination.queue.push([a_ticket(word)])
        assert await coordination.queue.propose() is not None
        assert (await sync(coordination, word, want=1)).limit > 0
        async with coordination.batch_changes.listen() as changes:
            await coordination.batch_changes.publish(BatchId(word))
            assert await anext(changes) == word


async def test_on_a_cluster_its_primary_is_found_and_followed(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster:
        scratches = [open_own(cluster.url()) for _ in range(4)]
        assert len({cluster.of(coordination.prefix) for coordination in scratches}) > 1
        for coordination in scratches:
            await works(coordination, "before")

        for place in range(3):
            cluster.fail_over(place)
        for coordination in scratches:
            await works(coordination, "after")
            assert not await coordination.once("before1", HOUR)  # the replica has it
            await coordination.close()


async def test_with_sentinels_the_new_primary_is_followed(tmp_path: Path) -> None:
    with redis_with_sentinels(tmp_path) as watched:
        coordination = open_own(watched.url())
        await works(coordination, "before")

        watched.fail_over()

        await works(coordination, "after")
        await coordination.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://127.0.0.1:1", "name of its service"),
        ("redis+cluster://127.0.0.1:1/3", "no databases"),
        ("redis+cluster://", "names its servers"),
    ],
)
def test_a_wrong_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        open_own(url)


@pytest.mark.parametrize("scheme", ["redis+sentinel", "rediss+cluster", "valkey+cluster"])
async def test_servers_that_are_away_are_unavailable(scheme: str) -> None:
    coordination = open_own(f"{scheme}://127.0.0.1:1,127.0.0.1:2/{'x' * ('sentinel' in scheme)}")
    with pytest.raises(Unavailable):
        await coordination.check()
    await coordination.close()
