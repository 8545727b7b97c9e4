"""What is particular to metadata on Redis and Valkey; the port's contract suite tests the rest."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.redis import free_port, redis62_server, valkey_server
from redis.asyncio import Redis

from batch_gateway.adapters.redis_metadata import RedisMetadata, open_redis_metadata
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.ids import ActivationId, BatchId, FileId, TenantId
from batch_gateway.core.model import (
    Batch,
    BatchStatus,
    File,
    ResultPart,
    ResultTally,
    Shard,
    ShardState,
    TokenUsage,
)

pytestmark = pytest.mark.redis

Server = Callable[..., AbstractContextManager[str]]

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
PREFIX = "test"
TENANT = TenantId("alice")
HOLDER = ActivationId("activation-1")


@pytest.fixture(params=[valkey_server, redis62_server], ids=["valkey", "redis"])
def start(request: pytest.FixtureRequest) -> Server:
    server: Server = request.param
    return server


@pytest.fixture
def url(start: Server, tmp_path: Path) -> Iterator[str]:
    """A private server that keeps what it has answered."""
    with start(tmp_path, appendonly=True) as url:
        yield url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisMetadata]:
    store = open_redis_metadata(url, prefix=PREFIX)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisMetadata]:
    async with opened(url) as store:
        yield store


@pytest.fixture
async def client(url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(url, decode_responses=True) as client:
        yield client


async def add_user(client: Redis, name: str, *rights: str) -> None:
    """Add a user with the password secret and ``rights``, as ACL spells them."""
    rules = ("on", ">secret", "~*", "&*", *rights)
    await client.execute_command("ACL", "SETUSER", name, *rules)


def a_batch(number: int = 1, **changes: Any) -> Batch:
    fields: dict[str, Any] = {
        "id": BatchId(f"batch_{number:032x}"),
        "tenant": TENANT,
        "status": BatchStatus.VALIDATING,
        "endpoint": "/v1/chat/completions",
        "input_file_id": FileId("file-in"),
        "completion_window": "24h",
        "deadline": NOW + 24 * HOUR,
        "created_at": NOW,
    }
    return Batch(**(fields | changes))


def a_file(number: int, **changes: Any) -> File:
    fields: dict[str, Any] = {
        "id": FileId(f"file-{number:024x}"),
        "tenant": TENANT,
        "purpose": "batch",
        "filename": "in.jsonl",
        "size": 1,
        "lines": 1,
        "sha256": "ab" * 32,
        "key": "k",
        "created_at": NOW,
        "expires_at": NOW,
    }
    return File(**(fields | changes))


def shards_of(batch: Batch, count: int) -> list[Shard]:
    return [
        Shard(batch=batch.id, index=index, model="m", key=f"k/{index}", lines=2, cost=10)
        for index in range(count)
    ]


async def planned(store: RedisMetadata, batch: Batch, count: int) -> list[Shard]:
    shards = shards_of(batch, count)
    await store.batches.create(batch, [])
    assert await store.batches.plan(batch.id, shards, total=1, model="m", now=NOW, events=[])
    return shards


async def run_to_its_end(store: RedisMetadata, batch: Batch) -> None:
    """Everything that a batch of two shards goes through until its work objects are deleted."""
    events = [internal_event(EventType.BATCH_EXECUTED, batch.id)]
    tally = ResultTally(completed=2, usage=TokenUsage(input_tokens=1))
    part = ResultPart(key="p", lines=2)
    for shard in await planned(store, batch, 2):
        first = await store.shards.claim(shard.id, holder=HOLDER, token="one", now=NOW)
        assert first
        lease = await store.shards.take_over(first.ref, holder=HOLDER, token="two", now=NOW)
        assert lease
        await store.shards.finish(lease.ref, [part], tally, now=NOW, events=events)
    await store.batches.claim_assembly(batch.id, "assembler", now=NOW, ttl=HOUR)
    done = await store.batches.finish(
        batch.id,
        BatchStatus.COMPLETED,
        holder="assembler",
        files=[a_file(7)],
        output=a_file(7).id,
        error=None,
        counts=batch.counts,
        usage=None,
        now=NOW,
        events=[],
    )
    assert done
    await store.batches.swept(batch.id)
    await store.outbox.sent([event.id for event in events])
    await store.files.delete(TENANT, a_file(7).id)


# The server ---------------------------------------------------------------------------------------


async def test_a_server_that_keeps_its_answers_passes_the_check(store: RedisMetadata) -> None:
    await store.check()
    await store.check()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("appendfsync", "no"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
async def test_a_server_that_could_lose_data_is_refused_with_the_reason(
    store: RedisMetadata, client: Redis, setting: str, value: str
) -> None:
    await client.config_set(setting, value)

    with pytest.raises(Unavailable, match=f"could lose data: it has {setting} {value}"):
        await store.check()


async def test_where_config_is_forbidden_the_append_only_file_is_still_demanded(
    url: str, client: Redis
) -> None:
    await add_user(client, "tenant", "+@all", "-config")
    managed = url.replace("redis://", "redis://tenant:secret@")

    async with opened(managed) as store:
        await store.check()
        await client.config_set("appendonly", "no")

        with pytest.raises(Unavailable, match="appendonly no"):
            await store.check()


async def test_another_layout_under_the_prefix_is_refused(
    store: RedisMetadata, client: Redis
) -> None:
    await client.set(f"{PREFIX}:{{metadata}}:schema", "0")

    with pytest.raises(Unavailable, match="holds layout '0'"):
        await store.check()


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as store:
        with pytest.raises(Unavailable):
            await store.check()
        with pytest.raises(Unavailable):
            await store.batches.load(BatchId("batch_1"))
        with pytest.raises(Unavailable):
            await store.batches.create(a_batch(), [])
        with pytest.raises(Unavailable):
            await store.batches.plan(
                BatchId("batch_1"), shards_of(a_batch(), 1), total=1, model=None, now=NOW, events=[]
            )


async def test_what_was_answered_survives_a_killed_server_and_the_store_goes_on(
    start: Server, tmp_path: Path
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    async with opened(url) as store, Redis.from_url(url) as client:
        with start(tmp_path, appendonly=True, port=port):
            shards = await planned(store, a_batch(), 3)
            lease = await store.shards.claim(shards[0].id, holder=HOLDER, token="t", now=NOW)
            before = await store.batches.load(a_batch().id)
            os.kill((await client.info("server"))["process_id"], signal.SIGKILL)

        with ExitStack() as servers:
            again = start(tmp_path, appendonly=True, port=port)
            await asyncio.to_thread(servers.enter_context, again)
            assert lease is not None
            after = await store.batches.load(a_batch().id)
            standing = (await store.shards.standings([lease.ref]))[0]
            ready = await store.shards.ready(after=None, limit=9)

    assert after == before
    assert standing.held
    assert [entry.shard for entry in ready] == [shard.id for shard in shards[1:]]


async def test_the_key_space_is_never_scanned(store: RedisMetadata, client: Redis) -> None:
    await store.check()

    await run_to_its_end(store, a_batch())
    await store.batches.cancel(TENANT, a_batch().id, now=NOW, fence_at=NOW, events=[])
    await store.batches.list(TENANT, limit=5)
    await store.files.list(TENANT, limit=5)
    await store.files.expired(NOW, 5)
    await store.batches.unfinished(list(BatchStatus), before=NOW, limit=5)
    await store.batches.overdue(5)
    await store.batches.fenced(5)
    await store.batches.stranded(5)
    await store.batches.ended(limit=5)
    await store.batches.count_by_status()
    await store.shards.ready(after=None, limit=5)
    await store.shards.leased(limit=5)
    await store.outbox.unsent(before=NOW, limit=5)

    used = {name.removeprefix("cmdstat_") for name in await client.info("commandstats")}
    assert "hgetall" in used
    assert not used & {"keys", "scan", "sscan", "hscan", "zscan", "randomkey"}


# What is left behind ------------------------------------------------------------------------------


async def test_a_swept_batch_leaves_its_row_and_its_listings_only(
    store: RedisMetadata, client: Redis
) -> None:
    await run_to_its_end(store, a_batch())

    root = f"{PREFIX}:{{metadata}}"
    assert set(await client.keys("*")) == {
        f"{root}:batch:{a_batch().id}",
        f"{root}:batches-of:5:alice",
        f"{root}:batches-by-status:completed",
        f"{root}:account:5:alice",
    }


async def test_a_plan_that_comes_too_late_leaves_nothing(
    store: RedisMetadata, client: Redis
) -> None:
    shards = await planned(store, a_batch(), 2)
    before = set(await client.keys("*"))

    again = await store.batches.plan(
        a_batch().id, shards_of(a_batch(), 700), total=9, model="x", now=NOW, events=[]
    )

    assert again is None
    assert set(await client.keys("*")) == before
    assert [shard async for shard in store.shards.of_batch(a_batch().id)] == shards


async def test_a_plan_that_nobody_finished_writing_expires(
    url: str, store: RedisMetadata, client: Redis
) -> None:
    await store.batches.create(a_batch(), [])
    before = set(await client.keys("*"))
    # The user that may write the pieces but not run the script that adopts them stands for a crash.
    await add_user(client, "writer", "+@all", "-@scripting")
    crashing_url = url.replace("redis://", "redis://writer:secret@")
    async with opened(crashing_url) as crashing:
        with pytest.raises(Unavailable):
            await crashing.batches.plan(
                a_batch().id, shards_of(a_batch(), 3), total=6, model="m", now=NOW, events=[]
            )

    left = set(await client.keys("*")) - before
    assert len(left) == 3
    assert all([0 < await client.ttl(key) <= 3600 for key in left])


async def test_an_adopted_plan_never_expires(store: RedisMetadata, client: Redis) -> None:
    await planned(store, a_batch(), 3)

    assert {await client.ttl(key) for key in await client.keys("*")} == {-1}


# What is stored -----------------------------------------------------------------------------------


async def test_a_plan_of_many_pieces_comes_back_shard_by_shard(store: RedisMetadata) -> None:
    shards = shards_of(a_batch(), 1203)
    done = ResultTally(failed=2)
    shards[5] = Shard(
        batch=a_batch().id,
        index=5,
        model="m",
        key="",
        lines=2,
        cost=10,
        state=ShardState.CLOSED,
        parts=(ResultPart(key="p", lines=2),),
        tally=done,
    )
    await store.batches.create(a_batch(), [])

    batch = await store.batches.plan(
        a_batch().id, shards, total=2406, model="m", now=NOW, events=[]
    )

    assert batch is not None
    assert batch.open_shards == 1202
    assert (batch.counts.failed, batch.usage) == (2, TokenUsage())
    assert [shard async for shard in store.shards.of_batch(a_batch().id)] == shards


async def test_compound_values_and_odd_texts_come_back_as_they_were(store: RedisMetadata) -> None:
    odd = 'a:b\x00\x1f"\\{}\u2028\U0001f600'
    batch = a_batch(
        metadata={odd: odd, "empty": ""},
        options={"list": [], "object": {}, "big": 2**63 - 1, "real": 0.1, odd: [None, [[]]]},
        completion_window=odd,
    )
    event = internal_event(EventType.BATCH_CREATED, batch.id, traceparent=odd)

    await store.batches.create(batch, [event])
    await store.files.add(a_file(1, filename=odd, size=2**62, lines=None, expires_at=None))

    assert await store.batches.load(batch.id) == batch
    assert [unsent.event for unsent in await store.outbox.unsent(before=NOW + HOUR, limit=9)] == [
        event
    ]
    assert await store.files.get(TENANT, a_file(1).id) == a_file(
        1, filename=odd, size=2**62, lines=None, expires_at=None
    )


async def test_instants_are_exact_to_the_microsecond_for_centuries(store: RedisMetadata) -> None:
    late = datetime(2254, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    microsecond = timedelta(microseconds=1)
    await store.files.add(a_file(1, created_at=late, expires_at=late))
    await store.batches.create(a_batch(created_at=late, deadline=late), [])

    assert await store.files.get(TENANT, a_file(1).id) == a_file(
        1, created_at=late, expires_at=late
    )
    assert await store.files.expired(late - microsecond, 9) == []
    assert len(await store.files.expired(late, 9)) == 1
    validating = [BatchStatus.VALIDATING]
    assert await store.batches.unfinished(validating, before=late, limit=9) == []
    assert len(await store.batches.unfinished(validating, before=late + microsecond, limit=9)) == 1


async def test_tallies_add_up_beyond_the_exactness_of_doubles(store: RedisMetadata) -> None:
    huge = ResultTally(completed=1, usage=TokenUsage(input_tokens=2**60 + 1))
    for shard in await planned(store, a_batch(), 2):
        lease = await store.shards.claim(shard.id, holder=HOLDER, token="t", now=NOW)
        assert lease
        await store.shards.finish(lease.ref, [], huge, now=NOW, events=[])

    batch = await store.batches.load(a_batch().id)

    assert batch is not None
    assert batch.usage == TokenUsage(input_tokens=2**61 + 2)


async def test_names_of_tenants_and_purposes_cannot_reach_into_each_other(
    store: RedisMetadata,
) -> None:
    await store.files.add(a_file(1, tenant=TenantId("a"), purpose="b:c"))
    await store.files.add(a_file(2, tenant=TenantId("a:b"), purpose="c"))

    listed = await store.files.list(TenantId("a:b"), limit=9)
    of_purpose = await store.files.list(TenantId("a"), limit=9, purpose="b:c")

    assert listed is not None
    assert of_purpose is not None
    assert [file.id for file in listed.items] == [a_file(2).id]
    assert [file.id for file in of_purpose.items] == [a_file(1).id]
    assert await store.files.get(TenantId("a"), a_file(2).id) is None


async def test_two_prefixes_on_one_server_do_not_meet(url: str, store: RedisMetadata) -> None:
    other = open_redis_metadata(url.replace("redis://", "valkey://"), prefix="other")
    await store.batches.create(a_batch(), [])

    found = await other.batches.load(a_batch().id)
    await other.close()

    assert found is None


def test_a_prefix_cannot_begin_a_hash_tag_of_its_own() -> None:
    with pytest.raises(ValueError, match="hash tag"):
        open_redis_metadata("redis://127.0.0.1", prefix="{mine}")


async def test_a_shard_whose_epoch_is_no_number_is_leased_under_a_later_one(
    store: RedisMetadata, client: Redis
) -> None:
    """A script that failed there would fail each time, and keep what is queued behind it."""
    (shard, *_) = await planned(store, a_batch(), 2)
    await client.hset(f"{PREFIX}:{{metadata}}:shards:{a_batch().id}", "0.epoch", "first")

    lease = await store.shards.claim(shard.id, holder=HOLDER, token="t", now=NOW)

    assert lease
    assert lease.shard.epoch > 1_000_000_000
