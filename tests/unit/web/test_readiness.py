"""Readiness: no work before all was well once, and no flapping afterwards."""

import asyncio
from functools import partial

import pytest

from batch_gateway.core.errors import Unavailable
from batch_gateway.settings import ProbeSettings
from batch_gateway.web.failure_reasons import not_ready
from batch_gateway.web.readiness import ReadinessCheck


class Store:
    """A dependency, and the clock that it is looked at by."""

    def __init__(self) -> None:
        self.away = False
        self.silent = False
        self.asked = 0
        self.now = 0.0

    async def check(self) -> None:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise Unavailable("redis: gone")


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def ready(store):
    return ReadinessCheck(store.check, ProbeSettings(tolerance_s=10), clock=lambda: store.now)


async def test_what_was_never_well_is_not_ready_at_once(store, ready):
    store.away = True

    with pytest.raises(Unavailable, match="redis: gone"):
        await ready()


async def test_a_blink_does_not_take_a_function_out_of_service(store, ready):
    await ready()
    store.away = True

    for store.now in (2.0, 5.0, 11.9):
        await ready()


async def test_a_lasting_outage_does(store, ready):
    await ready()
    store.away = True
    store.now = 2.0
    await ready()
    store.now = 12.0

    with pytest.raises(Unavailable, match="redis: gone"):
        await ready()


async def test_who_is_well_again_is_ready_at_once_and_may_blink_anew(store, ready):
    await ready()
    store.away = True
    for store.now in (2.0, 11.0):
        await ready()
    store.now, store.away = 12.5, False
    await ready()

    store.away = True
    for store.now in (14.0, 23.0):
        await ready()


async def test_many_probes_are_one_question(store, ready):
    await asyncio.gather(*(ready() for _ in range(50)))

    assert store.asked == 1


async def test_silence_is_an_outage_too_and_answered_in_time_for_the_probe(store, ready):
    await ready()
    store.silent = True
    store.now = 2.0

    async with asyncio.timeout(1):  # when Kubernetes gives up
        await ready()
    store.now = 12.0

    with pytest.raises(Unavailable, match=r"has not answered for 0.5 s"):
        await ready()


async def answer(app, path: str) -> int:
    """The status that ``app`` answers a GET of ``path`` with."""
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)
    return sent[0]["status"]


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body"})


async def test_there_is_no_work_before_all_was_well_once(store, ready):
    gated = ready.gate(app, partial(not_ready, "planner"))
    store.away = True

    assert await answer(gated, "/") == 503
    assert await answer(gated, "/healthz") == 202

    store.away, store.now = False, 1.0
    assert await answer(gated, "/") == 202


async def test_work_goes_on_in_an_outage(store, ready):
    gated = ready.gate(app, partial(not_ready, "planner"))
    await answer(gated, "/")
    store.away, store.now = True, 60.0

    assert await answer(gated, "/") == 202
