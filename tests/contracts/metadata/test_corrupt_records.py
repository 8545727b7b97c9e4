"""Rows of files, uploads, events, webhooks, keys and dead letters that cannot be decoded: lists and
sweeps leave them out and find what is behind them; reading one alone names it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from contracts.metadata.test_api_keys import _key
from contracts.metadata.test_claims import a_claim
from contracts.metadata.test_processed_events import a_letter
from contracts.metadata.test_uploads import a_part, an_upload
from contracts.metadata.test_webhooks import HOLD, a_delivery, an_endpoint
from fixtures.metadata import ALICE, FAR_AHEAD, SECOND, T0, a_batch, a_file, an_event

from batch_gateway.adapters.redis_metadata.store import RedisMetadata
from batch_gateway.core.errors import CorruptRow
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.verify.verifier import StorageConsistencyVerifier

#: Microseconds since 1970 that are no instant.
NEVER = 9_000_000_000_000_000_000


@dataclass(frozen=True)
class Table:
    """How a row of a kind is damaged: a column on SQL, a field on Redis."""

    name: str
    redis_key: str
    column: str
    sql: Any
    redis: str = "never"
    json: bool = False


FILES = Table("files", "file", "created_at", NEVER)
UPLOADS = Table("uploads", "upload", "status", "lost", "lost")
EVENTS = Table("outbox", "", "type", "lost", "{}")
ENDPOINTS = Table(
    "webhook_endpoints", "webhook-endpoint", "event_types", '{"a": 1}', '{"a": 1}', json=True
)
DELIVERIES = Table("webhook_deliveries", "webhook-delivery", "happened_at", NEVER)
API_KEYS = Table("api_keys", "api-key", "expires_at", NEVER)
LETTERS = Table("dead_letters", "dead-letter", "attributes", "[]", "[]", json=True)
CLAIMS = Table("claims", "claim", "held_until", NEVER)
PARTS = Table("upload_parts", "", "created_at", NEVER)


async def damaged(store: Any, table: Table, id_: str, owner: str = "") -> None:
    """Write directly what no release of this software writes."""
    if isinstance(store, RedisMetadata):
        root, client = store._keys.root, store._redis
        if table is EVENTS:
            await client.hset(f"{root}:outbox", id_, table.redis)
        elif table is PARTS:
            await client.hset(f"{root}:upload-parts:{owner}", id_, table.redis)
        else:
            await client.hset(f"{root}:{table.redis_key}:{id_}", table.column, table.redis)
        return
    async with store._database.writing() as connection:
        cast = ":value"
        if table.json and connection.dialect.name != "sqlite":
            cast = "CAST(:value AS JSON)"
        change = sa.text(f"UPDATE {table.name} SET {table.column} = {cast} WHERE id = :id")
        assert (await connection.execute(change, {"value": table.sql, "id": id_})).rowcount == 1


async def test_files(metadata):
    oldest = a_file(created_at=T0, expires_at=T0 + SECOND)
    broken = a_file(created_at=T0 + SECOND, expires_at=T0)
    newest = a_file(created_at=T0 + 2 * SECOND)
    for file in (oldest, broken, newest):
        await metadata.files.add(file)
    await damaged(metadata, FILES, broken.id)

    both = await metadata.files.list(ALICE, limit=2)
    first = await metadata.files.list(ALICE, limit=1)
    behind = await metadata.files.list(ALICE, limit=1, after=newest.id)

    assert (both.items, both.more) == ([newest, oldest], False)
    assert (first.items, first.more) == ([newest], True)
    assert (behind.items, behind.more) == ([oldest], False)
    assert await metadata.files.expired(FAR_AHEAD, 1) == [oldest]
    await _names(metadata.files.get(ALICE, broken.id), "file", broken.id)


async def test_uploads(metadata):
    broken, whole = an_upload(), an_upload(expires_at=T0 + 7200 * SECOND)
    for upload in (broken, whole):
        await metadata.uploads.create(upload)
    await damaged(metadata, UPLOADS, broken.id)

    assert await metadata.uploads.expired(FAR_AHEAD, 1) == [whole]
    await _names(metadata.uploads.get(ALICE, broken.id), "upload", broken.id)


async def test_a_part_of_an_upload_is_never_left_out_of_its_file(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    broken, whole = a_part(upload), a_part(upload)
    limits = {"now": T0, "max_bytes": 2**40, "max_parts": 100}
    for part in (broken, whole):
        assert await metadata.uploads.add_part(ALICE, part, **limits)
    await damaged(metadata, PARTS, broken.id, upload.id)

    with pytest.raises(CorruptRow):
        await metadata.uploads.parts(ALICE, upload.id)


async def test_events(metadata):
    broken, whole = a_batch(), a_batch(created_at=T0 + SECOND)
    for batch in (broken, whole):
        await metadata.batches.create(batch, [an_event(batch)])
    await damaged(metadata, EVENTS, an_event(broken).id)

    found = await metadata.outbox.unsent(before=FAR_AHEAD, limit=1)

    assert [unsent.event for unsent in found] == [an_event(whole)]


async def test_webhook_endpoints(metadata):
    oldest, broken, newest = (an_endpoint(created_at=T0 + n * SECOND) for n in range(3))
    for endpoint in (oldest, broken, newest):
        await metadata.webhooks.add(endpoint)
    await damaged(metadata, ENDPOINTS, broken.id)

    page = await metadata.webhooks.list(ALICE, limit=2)

    assert (page.items, page.more) == ([newest, oldest], False)
    assert await metadata.webhooks.subscribed(ALICE, "batch.completed") == [oldest, newest]
    await _names(metadata.webhooks.get(ALICE, broken.id), "webhook endpoint", broken.id)


async def test_deliveries_of_a_broken_endpoint_keep_no_others(metadata):
    broken, whole = an_endpoint(), an_endpoint()
    for endpoint in (broken, whole):
        await metadata.webhooks.add(endpoint)
    lost, good = a_delivery(broken, due_at=T0 - SECOND), a_delivery(whole)
    await metadata.webhooks.enqueue([lost, good])
    await damaged(metadata, ENDPOINTS, broken.id)

    taken = await metadata.webhooks.take(T0, limit=1, hold=HOLD)

    assert [delivery.id for delivery, _ in taken] == [good.id]
    assert await metadata.webhooks.take(T0, limit=1, hold=HOLD) == []
    again = await metadata.webhooks.take(T0 + HOLD, limit=2, hold=HOLD)
    assert [delivery.id for delivery, _ in again] == [good.id]


async def test_webhook_deliveries(metadata):
    endpoint = an_endpoint()
    await metadata.webhooks.add(endpoint)
    oldest, broken, newest = (
        a_delivery(endpoint, created_at=T0 + n * SECOND, due_at=T0 + due * SECOND)
        for n, due in ((0, 1), (1, 0), (2, 2))
    )
    await metadata.webhooks.enqueue([oldest, broken, newest])
    await damaged(metadata, DELIVERIES, broken.id)

    page = await metadata.webhooks.deliveries(ALICE, endpoint.id, limit=2)
    taken = await metadata.webhooks.take(T0 + SECOND, limit=1, hold=HOLD)

    assert [one.id for one in page.items] == [newest.id, oldest.id]
    assert [one.id for one, _ in taken] == [oldest.id]


async def test_api_keys(metadata):
    broken, whole = _key(), _key(created_at=T0 + SECOND)
    for key in (broken, whole):
        await metadata.api_keys.add(key)
    await damaged(metadata, API_KEYS, broken.id)

    assert await metadata.api_keys.list() == [whole]
    assert await metadata.api_keys.find(whole.digest) == whole
    await _names(metadata.api_keys.find(broken.digest), "API key", broken.id)


async def test_dead_letters(metadata):
    broken, whole = a_letter(died_at=T0 + SECOND), a_letter(died_at=T0)
    for letter in (broken, whole):
        await metadata.dead_letters.put(letter)
    await damaged(metadata, LETTERS, broken.id)

    assert await metadata.dead_letters.list(limit=1) == [whole]
    await _names(metadata.dead_letters.get(broken.id), "dead letter", broken.id)


async def test_claims(metadata):
    claim = a_claim()
    await metadata.claims.claim(claim)
    await damaged(metadata, CLAIMS, claim.id)

    with pytest.raises(CorruptRow):
        await metadata.claims.claim(claim)


class NoFiles:
    async def list(self, prefix, **_):
        for nothing in ():
            yield nothing


Prepare = Callable[[MetadataStore], Awaitable[tuple[Table, str, str]]]


async def _a_broken_file(metadata):
    file = a_file()
    await metadata.files.add(file)
    return FILES, file.id, ""


async def _a_broken_upload(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    return UPLOADS, upload.id, ""


async def _a_broken_part(metadata):
    upload = an_upload()
    await metadata.uploads.create(upload)
    part = a_part(upload)
    assert await metadata.uploads.add_part(ALICE, part, now=T0, max_bytes=2**40, max_parts=9)
    return PARTS, part.id, upload.id


BROKEN = {"file": _a_broken_file, "upload": _a_broken_upload, "upload part": _a_broken_part}


@pytest.mark.parametrize("kind", BROKEN)
async def test_verify_shows_what_names_objects(metadata, kind):
    table, id_, owner = await BROKEN[kind](metadata)
    await damaged(metadata, table, id_, owner)

    found = [
        finding async for finding in StorageConsistencyVerifier(metadata, NoFiles()).findings()
    ]

    assert [finding.kind for finding in found] == [kind]


async def _names(reading: Awaitable[object], kind: str, id_: str) -> None:
    with pytest.raises(CorruptRow) as caught:
        await reading
    assert (caught.value.kind, caught.value.id) == (kind, id_)
