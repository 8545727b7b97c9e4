"""Results that wait to be stored are bounded by number and by bytes."""

import msgspec
import pytest

from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import PartLine
from batch_gateway.core.model import ResultPart, Shard
from batch_gateway.services.execute.result_buffer import ResultBuffer
from batch_gateway.services.results.parts import MOST_BYTES, divided

MIB = 1024 * 1024


@pytest.fixture
def buffer() -> ResultBuffer:
    shard = Shard(batch=BatchId("batch_1"), index=0, model="m", key="k", lines=500, cost=500)
    return ResultBuffer(shard, most=1024)


def result(number: int, size: int = 2 * MIB) -> PartLine:
    return PartLine(number, True, (1, 0, 1, 0), msgspec.Raw(b'"' + b"x" * size + b'"'))


def test_a_few_large_results_are_stored_at_once_and_fill_it(buffer):
    buffer.add([result(1)])
    assert (buffer.should_store, buffer.full) == (False, False)
    buffer.add([result(2)])
    assert (buffer.should_store, buffer.full) == (True, False)
    buffer.add([result(number) for number in range(3, 9)])
    assert (buffer.should_store, buffer.full) == (True, True)


def test_what_is_taken_makes_room_and_what_is_put_back_takes_it_again(buffer):
    buffer.add([result(number) for number in range(8)])

    taken = buffer.take()
    assert (len(buffer), buffer.should_store, buffer.full) == (0, False, False)
    assert buffer.waiting_bytes == sum(map(len, taken)) > 16 * MIB
    buffer.put_back(taken)
    assert buffer.waiting_bytes == sum(map(len, taken))
    assert (len(buffer), buffer.should_store, buffer.full) == (8, True, True)


def test_all_results_fit_one_part_until_they_are_too_large(buffer):
    buffer.add([result(number) for number in range(4)])
    taken = buffer.take()
    buffer.stored(ResultPart(key="p", lines=4), sum(map(len, taken)))
    assert buffer.fits_one_part
    assert buffer.waiting_bytes == 0

    buffer.add([result(number) for number in range(4, 8)])
    assert not buffer.fits_one_part
    buffer.stored(ResultPart(key="q", lines=4), sum(map(len, buffer.take())))
    assert not buffer.fits_one_part


def test_small_results_are_stored_by_number(buffer):
    buffer.add([result(number, 10) for number in range(255)])
    assert not buffer.should_store
    buffer.add([result(255, 10)])
    assert (buffer.should_store, buffer.full, buffer.fits_one_part) == (True, False, True)


def test_pieces_are_bounded_and_keep_every_line_in_order():
    lines = [b"a" * size for size in (3, 4, 3, 20, 1, 1, 8)]

    pieces = list(divided(lines, 10))

    assert [len(piece) for piece in pieces] == [3, 1, 3]
    assert [line for piece in pieces for line in piece] == lines
    assert list(divided([], MOST_BYTES)) == []
