"""Memory loss and rebuild, and a server that is in trouble."""

import asyncio
from pathlib import Path

import pytest
from fixtures.redis import free_port, valkey_server
from fixtures.scratch import HOUR, MINUTE, NO_TIME, a_lease, a_ticket, drain, open_own, sync
from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore, open_scratch, server
from batch_gateway.adapters.redis_coordination.server import CONNECTIONS
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import ActivationId, BatchId

pytestmark = pytest.mark.redis


async def test_a_new_server_has_no_generation_until_one_is_planted(
    coordination: RedisCoordinationStore,
) -> None:
    assert await coordination.generation() is None

    assert await coordination.begin_rebuild("me", MINUTE)
    assert await coordination.end_rebuild("me", "g1")

    found = await coordination.generation()
    assert found is not None
    assert found[0] == "g1"
    assert NO_TIME <= found[1] < MINUTE


async def test_one_at_a_time_rebuilds(coordination: RedisCoordinationStore) -> None:
    took = await asyncio.gather(*(coordination.begin_rebuild(f"h{n}", MINUTE) for n in range(8)))

    assert sum(took) == 1
    holder = f"h{took.index(True)}"
    assert await coordination.begin_rebuild(holder, MINUTE)
    assert not await coordination.end_rebuild("somebody else", "g")
    assert await coordination.end_rebuild(holder, "g")


async def test_nobody_rebuilds_what_has_been_rebuilt(coordination: RedisCoordinationStore) -> None:
    assert await coordination.begin_rebuild("one", MINUTE)
    assert await coordination.end_rebuild("one", "g")

    assert not await coordination.begin_rebuild("two", MINUTE)


async def test_a_lost_lock_plants_nothing(coordination: RedisCoordinationStore) -> None:
    assert await coordination.begin_rebuild("slow", NO_TIME)
    await _until_free(coordination, "quick")

    assert not await coordination.end_rebuild("slow", "old")
    assert await coordination.end_rebuild("quick", "new")


async def _until_free(coordination: RedisCoordinationStore, holder: str) -> None:
    async with asyncio.timeout(45):
        while not await coordination.begin_rebuild(holder, MINUTE):
            await asyncio.sleep(0)


async def test_something_is_done_once_in_a_while(coordination: RedisCoordinationStore) -> None:
    firsts = await asyncio.gather(*(coordination.once("sweep", HOUR) for _ in range(8)))

    assert sum(firsts) == 1
    assert await coordination.once("another", HOUR)


async def test_everything_works_again_after_a_wipe(coordination: RedisCoordinationStore) -> None:
    entries = [a_ticket(index=index) for index in range(5)]
    await coordination.queue.push(entries)
    held = await coordination.queue.propose(reserve=HOUR)
    assert held is not None
    await coordination.queue.lease(held, a_lease(held), MINUTE)
    await coordination.begin_rebuild("me", MINUTE)
    await coordination.end_rebuild("me", "before")

    await coordination._client.flushall()
    await coordination._client.script_flush()

    grant = await sync(coordination, "a", want=5, in_use=2)
    assert (grant.generation, grant.slots) == (None, 2)
    await coordination.queue.renew([a_lease(held)], MINUTE)
    assert await coordination.begin_rebuild("me", MINUTE)
    assert await coordination.queue.push(entries) == 4
    assert await coordination.end_rebuild("me", "after")
    assert await coordination.queue.alive([a_lease(held)]) == [True]
    assert await drain(coordination) == entries[1:]


async def test_a_hand_back_after_a_wipe_queues_the_shard(
    coordination: RedisCoordinationStore,
) -> None:
    entry = a_ticket()

    await coordination.queue.release(entry, refund=1.0)

    assert await coordination.queue.propose() == entry


async def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as url:
        coordination = open_own(url)
        await coordination.check()

    calls = [
        coordination.check(),
        coordination.generation(),
        coordination.once("x", MINUTE),
        coordination.queue.propose(),
        coordination.queue.push([a_ticket()]),
        sync(coordination, "a", want=1),
        coordination.slots.leave("pool", ActivationId("a")),
        coordination.slots.pools(),
        coordination.activations.count(),
        coordination.activations.leave(ActivationId("a")),
        coordination.batch_changes.publish(BatchId("batch_a")),
    ]
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in errors] == [Unavailable] * len(calls)
    await coordination.close()


async def test_a_restarted_server_costs_no_error(tmp_path: Path) -> None:
    port = free_port()
    with valkey_server(tmp_path, port=port) as url:
        coordination = open_own(url)
        await coordination.queue.push([a_ticket()])

    with valkey_server(tmp_path, port=port):
        assert await coordination.queue.propose() is None
        assert await coordination.generation() is None
        await coordination.queue.complete([a_ticket().shard])
    await coordination.close()


async def test_a_full_server_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as url:
        coordination = open_own(url)
        await coordination._client.config_set("maxmemory", "1")

        for call in (sync(coordination, "a", want=1), coordination.once("x", MINUTE)):
            with pytest.raises(Unavailable):
                await call
        await coordination.close()


async def test_a_read_only_server_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "primary") as primary, valkey_server(tmp_path / "copy") as url:
        coordination = open_own(url)
        port = int(primary.rsplit(":", 1)[1].partition("/")[0])
        await coordination._client.execute_command("REPLICAOF", "127.0.0.1", port)

        for call in (
            coordination.queue.push([a_ticket()]),
            coordination.slots.leave("pool", ActivationId("a")),
        ):
            with pytest.raises(Unavailable):
                await call
        await coordination.close()


async def test_all_keys_live_on_one_node_of_a_cluster(tmp_path: Path) -> None:
    with valkey_server(tmp_path, cluster=True) as url:
        coordination = open_own(url)
        await coordination.queue.push([a_ticket(index=index) for index in range(3)])
        entry = await coordination.queue.propose()
        assert entry is not None
        await coordination.queue.lease(entry, a_lease(entry), MINUTE)
        await coordination.queue.release(entry, refund=1.0)
        await coordination.queue.withdraw(BatchId("batch_a"))
        await sync(coordination, "a", want=1)
        await coordination.slots.pools()
        await coordination.activations.invite(maximum=1, ttl=MINUTE)
        await coordination.activations.enter(ActivationId("a"), maximum=1, ttl=MINUTE)
        await coordination.begin_rebuild("me", MINUTE)
        await coordination.end_rebuild("me", "g")

        async with Redis.from_url(url, decode_responses=True) as client:
            slots = {await client.cluster("KEYSLOT", key) async for key in client.scan_iter()}
        assert len(slots) == 1
        await coordination.close()


def test_a_prefix_with_braces_is_refused() -> None:
    with pytest.raises(ValueError, match="braces"):
        open_scratch("redis://127.0.0.1", prefix="a{b}")


async def test_a_valkey_url_means_the_same(valkey_url: str) -> None:
    coordination = open_own(valkey_url.replace("redis://", "valkey://"))

    await coordination.check()

    await coordination.close()


def be_patient(coordination: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands take long, as they may on a busy machine."""
    monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 60.0)
    coordination._client.connection_pool.connection_kwargs["socket_connect_timeout"] = 60.0


async def test_commands_wait_for_a_connection(
    coordination: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(coordination, monkeypatch)
    others = {client["id"] for client in await coordination._client.client_list()}
    names = [f"n{number}" for number in range(300)]

    firsts = await asyncio.gather(*(coordination.once(name, HOUR) for name in names))

    assert firsts == [True] * 300
    now = {client["id"] for client in await coordination._client.client_list()}
    assert 0 < len(now - others) < CONNECTIONS  # one of the others is this client's own


async def test_a_cancelled_command_gives_its_connection_to_the_next(
    coordination: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(coordination, monkeypatch)
    for round_ in range(20):
        tasks = [asyncio.create_task(coordination.once(f"{round_}/{n}", HOUR)) for n in range(200)]
        await asyncio.sleep(0.0005 * round_)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks[::2], return_exceptions=True)

        assert await asyncio.gather(*tasks[1::2]) == [True] * 100

    firsts = await asyncio.gather(*(coordination.once(f"last/{n}", HOUR) for n in range(200)))
    assert firsts == [True] * 200


async def test_more_commands_than_a_paused_server_answers_are_unavailable_and_heal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey_server(tmp_path) as url:
        coordination = open_own(url)
        await coordination._client.execute_command("CLIENT", "PAUSE", "3000")

        errors = await asyncio.gather(
            *(coordination.once(f"n{n}", HOUR) for n in range(200)), return_exceptions=True
        )

        assert {type(error) for error in errors} == {Unavailable}
        be_patient(coordination, monkeypatch)
        async with asyncio.timeout(45):
            while not await _answers(coordination):
                await asyncio.sleep(0.05)
        firsts = await asyncio.gather(*(coordination.once(f"m{n}", HOUR) for n in range(200)))
        assert firsts == [True] * 200
        await coordination.close()


async def _answers(coordination: RedisCoordinationStore) -> bool:
    try:
        await coordination.check()
    except Unavailable:
        return False
    return True


async def test_keys_on_another_node_of_a_cluster_are_unavailable(tmp_path: Path) -> None:
    with (
        valkey_server(tmp_path / "a", cluster=True) as url,
        valkey_server(tmp_path / "b", cluster=True) as other_url,
    ):
        scratches = [open_own(url), open_own(other_url)]
        port = int(other_url.rsplit(":", 1)[1].partition("/")[0])
        await scratches[0]._client.execute_command("CLUSTER", "MEET", "127.0.0.1", port)

        # Both own all slots; the one with the higher epoch keeps them.
        async with asyncio.timeout(45):
            while "MOVED" not in "".join(refused := [await refusal(one) for one in scratches]):
                await asyncio.sleep(0.05)

        without_keys = scratches["MOVED" not in refused[0]]
        for call in (
            without_keys.queue.propose(),
            without_keys.once("x", MINUTE),
            sync(without_keys, "a", want=1),
        ):
            with pytest.raises(Unavailable):
                await call
        for one in scratches:
            await one.close()


async def refusal(coordination: RedisCoordinationStore) -> str:
    """What a command is refused with; nothing when it is not."""
    try:
        await coordination.queue.depth()
    except Unavailable as error:
        return str(error)
    return ""


async def test_any_refusal_is_unavailable(coordination: RedisCoordinationStore) -> None:
    await coordination._client.set(f"{coordination._keys.queue}:state", "no hash")

    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await coordination.queue.depth()
