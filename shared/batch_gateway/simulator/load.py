"""Generates interactive traffic: streamed chats at random times, in phases of high and low rates.

What an interactive user feels is the time to the first token, so that is what is measured, at the
client. Arrivals do not wait for answers (an open loop): users come whether the engine is full or
not, and a slow one gets no relief. Everything random comes from the seed, drawn ahead, so two runs
see the same users at the same moments.
"""

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

_SPREAD = 0.6  # sigma of the logarithm of the lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPhase:
    """Traffic that stays the same for a while."""

    rate: float  # requests per second
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRequest:
    """One request to come."""

    at: float  # seconds since the start
    tokens: int  # of the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMeasurement:
    """What one user felt. Seconds; None: the request failed before."""

    at: float  # since the start
    first_token: float | None
    end: float | None


def users(waves: Sequence[TrafficPhase], *, mean_tokens: float, seed: int) -> Iterator[UserRequest]:
    """All users of ``waves``, one wave after the other; lengths are lognormal."""
    drawn = random.Random(seed)
    mu = math.log(mean_tokens) - _SPREAD**2 / 2
    begins = 0.0
    for wave in waves:
        at = begins
        begins += wave.seconds
        while wave.rate and (at := at + drawn.expovariate(wave.rate)) < begins:
            yield UserRequest(at=at, tokens=max(1, round(drawn.lognormvariate(mu, _SPREAD))))


async def drive(
    url: str, model: str, arrivals: Sequence[UserRequest]
) -> Sequence[RequestMeasurement]:
    """Send the requests of ``arrivals`` to ``url`` (without /v1), each at its time."""
    felt: list[RequestMeasurement] = []
    start = asyncio.get_running_loop().time()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session,
        asyncio.TaskGroup() as group,
    ):
        for n, user in enumerate(arrivals):
            await asyncio.sleep(start + user.at - asyncio.get_running_loop().time())
            group.create_task(_chat(session, url, model, n, user, felt))
    return sorted(felt, key=lambda one: one.at)


async def _chat(
    session: aiohttp.ClientSession,
    url: str,
    model: str,
    n: int,
    user: UserRequest,
    felt: list[RequestMeasurement],
) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"user {n}"}],
        "max_tokens": user.tokens,
        "ignore_eos": True,
        "stream": True,
    }
    clock = asyncio.get_running_loop().time
    sent, first = clock(), None
    try:
        async with session.post(
            f"{url}/v1/chat/completions",
            data=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        ) as response:
            if response.status == 200:
                async for _ in response.content.iter_any():
                    first = clock() if first is None else first
            end = clock() if response.status == 200 else None
    except aiohttp.ClientError:
        end = None
    felt.append(
        RequestMeasurement(
            at=user.at,
            first_token=None if first is None else first - sent,
            end=None if end is None else end - sent,
        )
    )
