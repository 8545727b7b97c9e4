"""CauseRows and DeadLetterRows: what is remembered of events."""

import asyncio
from itertools import count

import pytest
from fixtures.metadata import SECOND, T0, a_batch, an_event, unsent_ids

from batch_gateway.core.batch_request import SourceEvent
from batch_gateway.core.dead_letters import DeadLetter
from batch_gateway.core.errors import Conflict

_numbers = count(1)


def a_cause() -> SourceEvent:
    return SourceEvent(source="/them", id=f"event-{next(_numbers)}")


def a_letter(**changes) -> DeadLetter:
    fields = {
        "id": f"dead_{next(_numbers):024x}",
        "attributes": {"id": "1", "source": "/s", "type": "t", "subject": "n\u00e4me"},
        "data": b"\x00\xff{}",
        "target": "http://planner",
        "code": "500",
        "reason": "crashed",
        "died_at": T0,
    }
    return DeadLetter(**(fields | changes))


async def test_a_cause_makes_one_batch(metadata):
    cause, first, second = a_cause(), a_batch(), a_batch()
    await metadata.batches.create(first, [an_event(first)], cause=cause)

    with pytest.raises(Conflict):
        await metadata.batches.create(second, [an_event(second)], cause=cause)

    assert await metadata.processed_events.find(cause.key) == first.id
    assert await metadata.batches.load(second.id) is None
    assert await unsent_ids(metadata) == [an_event(first).id]


async def test_a_batch_that_is_refused_leaves_no_cause(metadata):
    batch, cause = a_batch(), a_cause()
    await metadata.batches.create(batch, [])

    with pytest.raises(Conflict):
        await metadata.batches.create(batch, [], cause=cause)

    assert await metadata.processed_events.find(cause.key) is None


async def test_of_many_at_once_one_batch_is_made(metadata):
    cause = a_cause()
    batches = [a_batch() for _ in range(8)]

    made = await asyncio.gather(
        *(metadata.batches.create(batch, [], cause=cause) for batch in batches),
        return_exceptions=True,
    )

    assert made.count(None) == 1
    assert {type(each) for each in made} == {type(None), Conflict}
    assert await metadata.processed_events.find(cause.key) == batches[made.index(None)].id


async def test_causes_are_forgotten_by_age(metadata):
    causes = [a_cause() for _ in range(3)]
    for number, cause in enumerate(causes):
        batch = a_batch(created_at=T0 + number * SECOND)
        await metadata.batches.create(batch, [], cause=cause)

    assert await metadata.processed_events.forget(T0 + 2 * SECOND, limit=1) == 1
    assert await metadata.processed_events.find(causes[0].key) is None
    assert await metadata.processed_events.forget(T0 + 2 * SECOND, limit=9) == 1
    assert await metadata.processed_events.find(causes[2].key) is not None


async def test_a_dead_letter_comes_back_as_it_was_written(metadata):
    letter = a_letter()
    await metadata.dead_letters.put(a_letter(id=letter.id, code="404"))

    await metadata.dead_letters.put(letter)

    assert await metadata.dead_letters.get(letter.id) == letter
    assert await metadata.dead_letters.get("dead_none") is None
    assert list(await metadata.dead_letters.list(limit=9)) == [letter]


async def test_dead_letters_are_dropped_by_id_by_age_and_by_number(metadata):
    letters = [a_letter(died_at=T0 + number * SECOND) for number in range(6)]
    for letter in letters:
        await metadata.dead_letters.put(letter)

    assert list(await metadata.dead_letters.list(limit=2)) == [letters[5], letters[4]]
    assert await metadata.dead_letters.drop(letters[5].id) is True
    assert await metadata.dead_letters.drop(letters[5].id) is False
    assert await metadata.dead_letters.forget(T0 + SECOND, limit=9) == 1
    assert await metadata.dead_letters.keep(2) == 2
    assert await metadata.dead_letters.keep(2) == 0
    assert list(await metadata.dead_letters.list(limit=9)) == [letters[4], letters[3]]
