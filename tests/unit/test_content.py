"""What is learnt of a file's bytes while they pass."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.services.files.content import ContentCheck

MIB = 1024 * 1024


async def source(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def measure(chunks: list[bytes], limit: int = 1 << 40) -> tuple[ContentCheck, bytes]:
    content = ContentCheck()
    passed = [chunk async for chunk in content.measured(source(chunks), limit)]
    return content, b"".join(passed)


@given(st.lists(st.binary(max_size=9), max_size=9), st.sampled_from([1, 200_000]))
def test_bytes_pass_unchanged_and_are_measured_to_the_last(chunks: list[bytes], times: int):
    chunks = [chunk * times for chunk in chunks]
    whole = b"".join(chunks)

    content, passed = asyncio.run(measure(chunks))

    assert passed == whole
    assert (content.size, content.sha256.digest()) == (len(whole), hashlib.sha256(whole).digest())
    assert content.lines == whole.count(b"\n") + (whole != b"" and not whole.endswith(b"\n"))


async def test_what_goes_beyond_the_limit_is_refused_whatever_is_being_measured():
    chunks = [b"{}\n" * MIB] * 4

    with pytest.raises(InvalidRequest, match="File is too large"):
        await measure(chunks, limit=10 * MIB)


async def test_who_stops_reading_leaves_nothing_behind():
    content = ContentCheck()
    measured = content.measured(source([b"x" * 3 * MIB] * 3), 1 << 40)

    await anext(measured)
    await measured.aclose()

    before = content.sha256.hexdigest()
    await asyncio.sleep(0.01)
    assert content.sha256.hexdigest() == before == hashlib.sha256(b"x" * 3 * MIB).hexdigest()
