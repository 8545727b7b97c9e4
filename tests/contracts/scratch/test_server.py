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
    scratch: RedisCoordinationStore,
) -> None:
    assert await scratch.generation() is None

    assert await scratch.begin_rebuild("me", MINUTE)
    assert await scratch.end_rebuild("me", "g1")

    found = await scratch.generation()
    assert found is not None
    assert found[0] == "g1"
    assert NO_TIME <= found[1] < MINUTE


async def test_one_at_a_time_rebuilds(scratch: RedisCoordinationStore) -> None:
    took = await asyncio.gather(*(scratch.begin_rebuild(f"h{n}", MINUTE) for n in range(8)))

    assert sum(took) == 1
    holder = f"h{took.index(True)}"
    assert await scratch.begin_rebuild(holder, MINUTE)
    assert not await scratch.end_rebuild("somebody else", "g")
    assert await scratch.end_rebuild(holder, "g")


async def test_nobody_rebuilds_what_has_been_rebuilt(scratch: RedisCoordinationStore) -> None:
    assert await scratch.begin_rebuild("one", MINUTE)
    assert await scratch.end_rebuild("one", "g")

    assert not await scratch.begin_rebuild("two", MINUTE)


async def test_a_lost_lock_plants_nothing(scratch: RedisCoordinationStore) -> None:
    assert await scratch.begin_rebuild("slow", NO_TIME)
    await _until_free(scratch, "quick")

    assert not await scratch.end_rebuild("slow", "old")
    assert await scratch.end_rebuild("quick", "new")


async def _until_free(scratch: RedisCoordinationStore, holder: str) -> None:
    async with asyncio.timeout(45):
        while not await scratch.begin_rebuild(holder, MINUTE):
            await asyncio.sleep(0)


async def test_something_is_done_once_in_a_while(scratch: RedisCoordinationStore) -> None:
    firsts = await asyncio.gather(*(scratch.once("sweep", HOUR) for _ in range(8)))

    assert sum(firsts) == 1
    assert await scratch.once("another", HOUR)


async def test_everything_works_again_after_a_wipe(scratch: RedisCoordinationStore) -> None:
    entries = [a_ticket(index=index) for index in range(5)]
    await scratch.queue.push(entries)
    held = await scratch.queue.propose(reserve=HOUR)
    assert held is not None
    await scratch.queue.lease(held, a_lease(held), MINUTE)
    await scratch.begin_rebuild("me", MINUTE)
    await scratch.end_rebuild("me", "before")

    await scratch._client.flushall()
    await scratch._client.script_flush()

    grant = await sync(scratch, "a", want=5, in_use=2)
    assert (grant.generation, grant.slots) == (None, 2)
    await scratch.queue.renew([a_lease(held)], MINUTE)
    assert await scratch.begin_rebuild("me", MINUTE)
    assert await scratch.queue.push(entries) == 4
    assert await scratch.end_rebuild("me", "after")
    assert await scratch.queue.alive([a_lease(held)]) == [True]
    assert await drain(scratch) == entries[1:]


async def test_a_hand_back_after_a_wipe_queues_the_shard(scratch: RedisCoordinationStore) -> None:
    entry = a_ticket()

    await scratch.queue.release(entry, refund=1.0)

    assert await scratch.queue.propose() == entry


async def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as url:
        scratch = open_own(url)
        await scratch.check()

    calls = [
        scratch.check(),
        scratch.generation(),
        scratch.once("x", MINUTE),
        scratch.queue.propose(),
        scratch.queue.push([a_ticket()]),
        sync(scratch, "a", want=1),
        scratch.slots.leave("pool", ActivationId("a")),
        scratch.slots.pools(),
        scratch.activations.count(),
        scratch.activations.leave(ActivationId("a")),
        scratch.batch_changes.publish(BatchId("batch_a")),
    ]
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in errors] == [Unavailable] * len(calls)
    await scratch.close()


async def test_a_restarted_server_costs_no_error(tmp_path: Path) -> None:
    port = free_port()
    with valkey_server(tmp_path, port=port) as url:
        scratch = open_own(url)
        await scratch.queue.push([a_ticket()])

    with valkey_server(tmp_path, port=port):
        assert await scratch.queue.propose() is None
        assert await scratch.generation() is None
        await scratch.queue.complete([a_ticket().shard])
    await scratch.close()


async def test_a_full_server_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as url:
        scratch = open_own(url)
        await scratch._client.config_set("maxmemory", "1")

        for call in (sync(scratch, "a", want=1), scratch.once("x", MINUTE)):
            with pytest.raises(Unavailable):
                await call
        await scratch.close()


async def test_a_read_only_server_is_unavailable(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "primary") as primary, valkey_server(tmp_path / "copy") as url:
        scratch = open_own(url)
        port = int(primary.rsplit(":", 1)[1].partition("/")[0])
        await scratch._client.execute_command("REPLICAOF", "127.0.0.1", port)

        for call in (
            scratch.queue.push([a_ticket()]),
            scratch.slots.leave("pool", ActivationId("a")),
        ):
            with pytest.raises(Unavailable):
                await call
        await scratch.close()


async def test_all_keys_live_on_one_node_of_a_cluster(tmp_path: Path) -> None:
    with valkey_server(tmp_path, cluster=True) as url:
        scratch = open_own(url)
        await scratch.queue.push([a_ticket(index=index) for index in range(3)])
        entry = await scratch.queue.propose()
        assert entry is not None
        await scratch.queue.lease(entry, a_lease(entry), MINUTE)
        await scratch.queue.release(entry, refund=1.0)
        await scratch.queue.withdraw(BatchId("batch_a"))
        await sync(scratch, "a", want=1)
        await scratch.slots.pools()
        await scratch.activations.invite(maximum=1, ttl=MINUTE)
        await scratch.activations.enter(ActivationId("a"), maximum=1, ttl=MINUTE)
        await scratch.begin_rebuild("me", MINUTE)
        await scratch.end_rebuild("me", "g")

        async with Redis.from_url(url, decode_responses=True) as client:
            slots = {await client.cluster("KEYSLOT", key) async for key in client.scan_iter()}
        assert len(slots) == 1
        await scratch.close()


def test_a_prefix_with_braces_is_refused() -> None:
    with pytest.raises(ValueError, match="braces"):
        open_scratch("redis://127.0.0.1", prefix="a{b}")


async def test_a_valkey_url_means_the_same(valkey_url: str) -> None:
    scratch = open_own(valkey_url.replace("redis://", "valkey://"))

    await scratch.check()

    await scratch.close()


def be_patient(scratch: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands take long, as they may on a busy machine."""
    monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 60.0)
    scratch._client.connection_pool.connection_kwargs["socket_connect_timeout"] = 60.0


async def test_commands_wait_for_a_connection(
    scratch: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(scratch, monkeypatch)
    others = {client["id"] for client in await scratch._client.client_list()}
    names = [f"n{number}" for number in range(300)]

    firsts = await asyncio.gather(*(scratch.once(name, HOUR) for name in names))

    assert firsts == [True] * 300
    now = {client["id"] for client in await scratch._client.client_list()}
    assert 0 < len(now - others) < CONNECTIONS  # one of the others is this client's own


async def test_a_cancelled_command_gives_its_connection_to_the_next(
    scratch: RedisCoordinationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(scratch, monkeypatch)
    for round_ in range(20):
        tasks = [asyncio.create_task(scratch.once(f"{round_}/{n}", HOUR)) for n in range(200)]
        await asyncio.sleep(0.0005 * round_)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks[::2], return_exceptions=True)

        assert await asyncio.gather(*tasks[1::2]) == [True] * 100

    firsts = await asyncio.gather(*(scratch.once(f"last/{n}", HOUR) for n in range(200)))
    assert firsts == [True] * 200


async def test_more_commands_than_a_paused_server_answers_are_unavailable_and_heal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey_server(tmp_path) as url:
        scratch = open_own(url)
        await scratch._client.execute_command("CLIENT", "PAUSE", "3000")

        errors = await asyncio.gather(
            *(scratch.once(f"n{n}", HOUR) for n in range(200)), return_exceptions=True
        )

        assert {type(error) for error in errors} == {Unavailable}
        be_patient(scratch, monkeypatch)
        async with asyncio.timeout(45):
            while not await _answers(scratch):
                await asyncio.sleep(0.05)
        firsts = await asyncio.gather(*(scratch.once(f"m{n}", HOUR) for n in range(200)))
        assert firsts == [True] * 200
        await scratch.close()


async def _answers(scratch: RedisCoordinationStore) -> bool:
    try:
        await scratch.check()
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


async def refusal(scratch: RedisCoordinationStore) -> str:
    """What a command is refused with; nothing when it is not."""
    try:
        await scratch.queue.depth()
    except Unavailable as error:
        return str(error)
    return ""


async def test_any_refusal_is_unavailable(scratch: RedisCoordinationStore) -> None:
    await scratch._client.set(f"{scratch._keys.queue}:state", "no hash")

    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await scratch.queue.depth()
