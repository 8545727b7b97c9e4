"""What is written at once shares statements, and each item still succeeds or fails by itself."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from fixtures.metadata import ALICE, a_batch, an_event

from batch_gateway.adapters.sql.gathered_writes import WriteCoalescer
from batch_gateway.adapters.sql.store import open_sql
from batch_gateway.core.errors import Conflict, Unavailable


@pytest.fixture
async def store(empty_url):
    store = await open_sql(empty_url, pool_size=5, migrate=True)
    yield store
    await store.close()


async def test_a_burst_of_new_batches_takes_few_statements_and_commits(store):
    engine = store._database._engine.sync_engine
    statements, commits = [], []
    sa.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    sa.event.listen(engine, "commit", commits.append)
    new = [a_batch() for _ in range(50)]

    await asyncio.gather(*(store.batches.create(batch, [an_event(batch)]) for batch in new))

    assert (await store.accounts.get(ALICE)).open_batches == 50
    assert len(statements) <= 10, statements  # 150 when each is written alone
    assert len(commits) <= 3


class Table:
    """Takes numbers; negative ones are refused, and while it is away it takes none."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.tries: list[Sequence[int]] = []
        self.away = False
        self.may_go_on = asyncio.Event()

    async def write(self, numbers: Sequence[int]) -> Sequence[int]:
        self.tries.append(numbers)
        await self.may_go_on.wait()
        if self.away:
            raise Unavailable("away")
        if any(number < 0 for number in numbers):
            raise Conflict(f"{numbers} has a negative one")
        self.rows += numbers
        return [10 * number for number in numbers]


async def test_what_comes_while_another_is_written_goes_together():
    table = Table()
    writes = WriteCoalescer(table.write)
    adding = [asyncio.create_task(writes.add(1))]
    while not table.tries:
        await asyncio.sleep(0)
    adding += [asyncio.create_task(writes.add(number)) for number in (2, -3, 4)]
    await asyncio.sleep(0)

    table.may_go_on.set()
    results = await asyncio.gather(*adding, return_exceptions=True)

    assert (*results[:2], results[3]) == (10, 20, 40)
    assert isinstance(results[2], Conflict)
    assert str(results[2]) == "[-3] has a negative one"
    assert table.rows == [1, 2, 4]
    assert table.tries[:2] == [[1], [2, -3, 4]]


async def test_an_outage_is_told_to_all_of_them_and_not_tried_again():
    table = Table()
    writes = WriteCoalescer(table.write)
    table.away = True
    table.may_go_on.set()

    results = await asyncio.gather(*map(writes.add, range(5)), return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 5
    assert len(table.tries) == 1
    table.away = False
    await writes.add(7)
    assert table.rows == [7]


async def test_a_caller_that_gives_up_takes_no_other_with_it():
    table = Table()
    writes = WriteCoalescer(table.write)
    first, second, third = (asyncio.create_task(writes.add(number)) for number in range(3))
    while not table.tries:
        await asyncio.sleep(0)
    late = asyncio.create_task(writes.add(9))
    await asyncio.sleep(0)

    first.cancel()  # it is being written: whether it was is not known to its caller
    late.cancel()  # not begun: it is not written
    await asyncio.gather(first, late, return_exceptions=True)
    table.may_go_on.set()
    await asyncio.gather(second, third)
    await writes.close()

    assert table.rows == [0, 1, 2]
