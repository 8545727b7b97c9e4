"""AuditRows: entries are added, listed newest first, and forgotten after their time."""

import asyncio
from datetime import timedelta

from fixtures.metadata import ALICE, BOB, SECOND, T0

from batch_gateway.core.audit import AuditEntry, AuditOutcome, audit_id
from batch_gateway.ports.audit import AuditFilter


def an_entry(seconds: int = 0, **changes) -> AuditEntry:
    at = T0 + seconds * SECOND
    fields = {
        "id": audit_id(at, bytes([seconds % 256, 1, 2, 3])),
        "at": at,
        "action": "batch.create",
        "outcome": AuditOutcome.OK,
        "tenant": ALICE,
    }
    return AuditEntry(**(fields | changes))


async def added(metadata, *entries: AuditEntry) -> list[AuditEntry]:
    for entry in entries:
        await metadata.audit.add(entry)
    return list(entries)


async def listed(metadata, **query) -> list[AuditEntry]:
    return list(await metadata.audit.list(**({"limit": 100} | query)))


async def test_an_entry_comes_back_as_it_was_written(metadata):
    full = an_entry(
        api_key="key_1",
        operator=True,
        address="192.0.2.7",
        forwarded_for="ü, 2",
        target="batch_1",
        outcome=AuditOutcome.REFUSED,
        status_code=409,
    )
    await added(metadata, full, bare := an_entry(1, tenant=None))

    assert await listed(metadata) == [bare, full]


async def test_entries_that_come_at_once_are_all_there(metadata):
    entries = [an_entry(n) for n in range(30)]

    await asyncio.gather(*map(metadata.audit.add, entries))

    assert await listed(metadata) == entries[::-1]


async def test_entries_come_page_by_page_the_newest_first(metadata):
    entries = await added(metadata, *(an_entry(n) for n in range(5)))

    first = await listed(metadata, limit=2)
    second = await listed(metadata, limit=10, after=first[-1].id)

    assert first + second == entries[::-1]


async def test_entries_are_found_by_tenant_action_target_and_time(metadata):
    entries = await added(
        metadata,
        an_entry(0),
        an_entry(1, tenant=BOB),
        an_entry(2, action="batch.cancel"),
        an_entry(3, target="batch_9"),
    )

    async def found(**only):
        return await listed(metadata, only=AuditFilter(**only))

    assert await found(tenant=BOB) == [entries[1]]
    assert await found(action="batch.cancel") == [entries[2]]
    assert await found(target="batch_9") == [entries[3]]
    assert await found(since=T0 + SECOND, before=T0 + 3 * SECOND) == [entries[2], entries[1]]


async def test_old_entries_are_forgotten(metadata):
    entries = await added(metadata, *(an_entry(n) for n in range(4)))
    before = T0 + 3 * SECOND

    assert await metadata.audit.forget(before, 2) == 2
    assert await metadata.audit.forget(before, 2) == 1
    assert await metadata.audit.forget(before, 2) == 0
    assert await listed(metadata) == entries[3:]


async def test_a_key_is_known_to_be_used_at_most_once_in_a_while(metadata):
    from batch_gateway.core.api_keys import ApiKey
    from batch_gateway.core.scopes import AccessScope

    minute = timedelta(minutes=1)
    key = ApiKey(
        id="key_1",
        tenant=ALICE,
        name="",
        digest="d",
        created_at=T0,
        scopes=frozenset({AccessScope.READ, AccessScope.OPERATE}),
    )
    await metadata.api_keys.add(key)
    assert await metadata.api_keys.find("d") == key

    uses = []
    for seconds in (0, 59, 61):
        await metadata.api_keys.used("key_1", now=T0 + seconds * SECOND, apart=minute)
        uses.append((await metadata.api_keys.find("d")).last_used_at)
    await metadata.api_keys.used("key_unknown", now=T0, apart=minute)

    assert uses == [T0, T0, T0 + 61 * SECOND]
