"""Outbox: events are kept with the change that they announce until they are sent."""

from fixtures.metadata import SECOND, T0, a_batch, an_event

from batch_gateway.core.events import Event, EventType
from batch_gateway.ports.metadata import MetadataStore

HOUR = 3600 * SECOND


async def _unsent(metadata: MetadataStore) -> list[Event]:
    return [unsent.event for unsent in await metadata.outbox.unsent(before=T0 + HOUR, limit=100)]


async def test_an_event_comes_back_as_it_was_written(metadata):
    batch = a_batch()
    event = Event(
        id="id/with/slashes",
        type=EventType.BATCH_CREATED,
        subject=batch.id,
        data={"batch_id": batch.id, "näme": '"value"'},
        traceparent="00-aa-bb-01",
    )

    await metadata.batches.create(batch, [event])

    [unsent] = await metadata.outbox.unsent(before=T0 + SECOND, limit=10)
    assert (unsent.event, unsent.created_at) == (event, T0)


async def test_events_come_oldest_first_and_only_older_ones(metadata):
    batches = [a_batch(created_at=T0 + n * SECOND) for n in (2, 0, 1)]
    for batch in batches:
        await metadata.batches.create(batch, [an_event(batch)])
    by_age = [an_event(batches[n]) for n in (1, 2, 0)]

    assert await _unsent(metadata) == by_age
    older = await metadata.outbox.unsent(before=T0 + SECOND, limit=10)
    assert [unsent.event for unsent in older] == by_age[:1]
    first_two = await metadata.outbox.unsent(before=T0 + HOUR, limit=2)
    assert [unsent.event for unsent in first_two] == by_age[:2]


async def test_sent_events_are_forgotten(metadata):
    batches = [a_batch() for _ in range(3)]
    for batch in batches:
        await metadata.batches.create(batch, [an_event(batch)])

    await metadata.outbox.sent([an_event(batches[0]).id, an_event(batches[2]).id, "unknown"])
    await metadata.outbox.sent([])

    assert await _unsent(metadata) == [an_event(batches[1])]


async def test_writing_an_event_again_changes_nothing(metadata):
    first, second = a_batch(), a_batch(created_at=T0 + SECOND)
    event = an_event(first)
    changed = Event(id=event.id, type=event.type, subject="other", data={})
    await metadata.batches.create(first, [event])

    await metadata.batches.create(second, [changed, an_event(second)])

    assert await _unsent(metadata) == [event, an_event(second)]
    [unsent, _] = await metadata.outbox.unsent(before=T0 + HOUR, limit=10)
    assert unsent.created_at == T0


async def test_an_event_that_was_sent_may_be_written_again(metadata):
    batch = a_batch()
    await metadata.batches.create(batch, [an_event(batch)])
    await metadata.outbox.sent([an_event(batch).id])

    await metadata.batches.fail(batch.id, [], now=T0 + SECOND, events=[an_event(batch)])

    assert await _unsent(metadata) == [an_event(batch)]
