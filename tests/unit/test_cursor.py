"""Cursors of results, and the order of completion that makes them last."""

import base64
import json
import random
import zlib

import pytest

from batch_gateway.core import completion_order
from batch_gateway.core.cursor import WHOLE, ResultCursor, ResultFilePosition
from batch_gateway.core.ids import BatchId

ONE, OTHER = BatchId("batch_1"), BatchId("batch_2")

CURSORS = [
    ResultCursor(),
    ResultCursor({0: WHOLE}),
    ResultCursor({0: WHOLE, 1: WHOLE, 2: 7, 4: WHOLE, 19_999: 1}),
    ResultCursor({3: 5}, ResultFilePosition(error_file=True, offset=2**40, line=10**7)),
]


@pytest.mark.parametrize("cursor", CURSORS, ids=range(len(CURSORS)))
def test_a_cursor_comes_back_as_it_was(cursor):
    assert ResultCursor.decode(cursor.encode(ONE), ONE) == cursor


def test_a_cursor_says_nothing_to_another_batch():
    assert ResultCursor.decode(CURSORS[2].encode(ONE), OTHER) is None


def test_a_cursor_fits_into_an_url_however_large_the_batch():
    """Twenty thousand shards of 500 lines; what is not whole is what is being worked on."""
    chance = random.Random(1)
    given = dict.fromkeys(range(19_000), WHOLE)
    given |= {chance.randrange(20_000): chance.randrange(1, 500) for _ in range(128)}

    assert len(ResultCursor(given).encode(ONE)) < 2000


@pytest.mark.parametrize("word", ["", "?", "eJw", "x" * 5000, "ä", "eJyLjgUAARUAuQ"])
def test_what_is_no_cursor_is_none(word):
    assert ResultCursor.decode(word, ONE) is None


def test_the_order_tells_which_lines_of_the_files_were_given():
    """Two shards; line 4 is blank in the input, and 2 and 6 failed."""
    first = completion_order.encode([(5, True), (1, True), (6, False)])
    second = completion_order.encode([(2, False), (3, True)])
    given = completion_order.DeliveredLines({0: 2, 1: WHOLE})

    for n in range(0, len(first + second), 3):  # pieces that cut entries
        given.feed((first + second)[n : n + 3])

    assert given.output() == bytes([1, 1, 1])  # lines 1, 3, 5
    assert given.error() == bytes([1, 0])  # lines 2, 6


def test_lines_far_apart_keep_their_places():
    order = completion_order.encode([(1_000_000, True), (7, True)])
    given = completion_order.DeliveredLines({0: 1})

    given.feed(order)

    assert (given.output(), given.error()) == (bytes([0, 1]), b"")


def test_a_cursor_that_was_made_up_takes_no_memory():
    packed = [0, [[0, 2**40]], [], None]
    packed[0] = zlib.crc32(ONE.encode())
    word = base64.urlsafe_b64encode(zlib.compress(json.dumps(packed).encode())).decode()

    assert ResultCursor.decode(word.rstrip("="), ONE) is None
