"""The control channel: nothing published while listening is lost without a word."""

import asyncio

import pytest
from fixtures.redis import valkey_server
from fixtures.scratch import open_own

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import BatchId

pytestmark = pytest.mark.redis

A, B = BatchId("batch_a"), BatchId("batch_b")


async def test_what_is_published_after_entering_is_heard_by_every_listener(
    coordination: RedisCoordinationStore,
) -> None:
    async with (
        coordination.batch_changes.listen() as one,
        coordination.batch_changes.listen() as two,
    ):
        await coordination.batch_changes.publish(A)
        await coordination.batch_changes.publish(B)

        assert [await anext(one), await anext(one)] == [A, B]
        assert [await anext(two), await anext(two)] == [A, B]


async def test_deployments_do_not_hear_each_other(
    coordination: RedisCoordinationStore, redis_url: str
) -> None:
    other = open_own(redis_url)
    async with coordination.batch_changes.listen() as changes:
        await other.batch_changes.publish(A)
        await coordination.batch_changes.publish(B)

        assert await anext(changes) == B
    await other.close()


async def test_a_silent_channel_stays_open(
    coordination: RedisCoordinationStore, monkeypatch
) -> None:
    monkeypatch.setattr("batch_gateway.adapters.redis_coordination.batch_changes._PATIENCE_S", 0.01)
    async with coordination.batch_changes.listen() as changes, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(anext(changes))
        done, _ = await asyncio.wait([first], timeout=0.2)
        assert not done

        await coordination.batch_changes.publish(A)
        assert await first == A


async def test_a_lost_connection_is_told_and_one_can_listen_again(
    coordination: RedisCoordinationStore,
) -> None:
    async with coordination.batch_changes.listen() as changes:
        await coordination._client.client_kill_filter(_type="pubsub")

        with pytest.raises(Unavailable):
            await anext(changes)

    async with coordination.batch_changes.listen() as changes:
        await coordination.batch_changes.publish(A)
        assert await anext(changes) == A


async def test_listening_to_a_server_that_is_gone_is_told(tmp_path) -> None:
    with valkey_server(tmp_path) as url:
        coordination = open_own(url)
        async with coordination.batch_changes.listen():
            await coordination.check()

    with pytest.raises(Unavailable):
        async with coordination.batch_changes.listen():
            pass
    await coordination.close()


async def test_a_listener_can_be_cancelled(coordination: RedisCoordinationStore) -> None:
    async def listen() -> None:
        async with coordination.batch_changes.listen() as changes:
            listening.set()
            await anext(changes)

    listening = asyncio.Event()
    task = asyncio.create_task(listen())
    await listening.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
