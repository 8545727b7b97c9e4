"""The service's state metrics, on real stores, as Prometheus would read them."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from fixtures.scratch import NO_TIME, POOL, open_own, settle, sync
from fixtures.world import TENANT, chat_lines
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.dead_letters import dead_letter
from batch_gateway.core.ids import TenantId
from batch_gateway.core.limits import Brake, MonitorSignal, PoolObservation
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.settings import LimitSettings
from batch_gateway.web.metrics_page import MetricsPage, with_metrics
from batch_gateway.wiring.function import metrics_page

SEEN = MonitorSignal(brake=Brake.ENGINE, room=0, reason="a queue", running=9, waiting=3)

pytestmark = pytest.mark.redis


def state_reader(world, **options) -> StateReader:
    return StateReader(world.metadata, world.coordination, world.clock, **options)


async def scraped(page: MetricsPage, **headers: str) -> httpx.Response:
    app = with_metrics(PlainTextResponse("not the page"), page)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://function") as http:
        return await http.get("/metrics", headers=headers)


async def told(page: MetricsPage) -> dict[tuple[str, ...], float]:
    """name and the values of its labels (by their names) -> value, of our own metrics."""
    text = (await scraped(page)).text
    return {
        (sample.name.removeprefix("batch_gateway_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("batch_gateway_")
    }


async def test_the_state_is_told_while_nothing_runs(world):
    running = await world.submit(chat_lines(4), window=timedelta(hours=1))
    await world.planner.plan(running.id)
    await world.submit(chat_lines(1), tenant=TenantId("other"))
    await sync(world.coordination, "a", want=3, in_use=2)

    state = await told(MetricsPage(state_reader=state_reader(world), tenants=5))

    assert state["state_known", "metadata"] == state["state_known", "scratch"] == 1
    assert (state["batches", "validating"], state["batches", "in_progress"]) == (1, 1)
    assert state["batches", "failed"] == 0
    assert state["backlog_requests", "sim-large"] == 4
    assert (state["tenant_open_batches", TENANT], state["tenant_open_batches", "other"]) == (1, 1)
    assert state[("first_deadline_seconds",)] == pytest.approx(3600, abs=60)
    assert state["queue_shards", "ready"] == 1
    assert (state["activations", "running"], state["activations", "pending"]) == (0, 1)
    assert state["pool_limit", POOL] >= state["pool_granted", POOL] > 0
    assert state["pool_holders", POOL] == 1


async def test_what_lowered_a_limit_last_is_told_with_its_time(world):
    moving = open_own(world.scratch_url, interval=NO_TIME)  # at every sync
    await settle(moving)
    for _ in range(3):
        await sync(moving, "a", want=8, in_use=8, seen=PoolObservation(dropped=1, signal=SEEN))

    page = MetricsPage(state_reader=StateReader(world.metadata, moving, world.clock))
    state = await told(page)
    await moving.close()

    when = state["pool_last_brake_timestamp_seconds", "dropped", POOL]
    assert when == pytest.approx(world.clock.now().timestamp(), abs=60)
    assert state["engine_waiting", POOL] == 3
    assert ("probe_ttft_milliseconds", POOL) not in state
    assert state["pool_limit", POOL] < LimitSettings().start


async def test_many_tenants_are_one_sum_beyond_the_largest(world):
    for tenant, batches in (("big", 3), ("middle", 2), ("small", 1), ("tiny", 1)):
        for _ in range(batches):
            await world.submit(chat_lines(1), tenant=TenantId(tenant))

    state = await told(MetricsPage(state_reader=state_reader(world), tenants=2))
    nobody = await told(MetricsPage(state_reader=state_reader(world), tenants=0))

    open_batches = {key[1]: n for key, n in state.items() if key[0] == "tenant_open_batches"}
    assert open_batches == {"big": 3, "middle": 2, "(others)": 2}
    assert nobody["tenant_open_batches", "(others)"] == 7


async def test_while_one_store_is_away_the_other_s_part_is_told(world):
    await world.submit(chat_lines(1))
    nowhere = open_own("redis://127.0.0.1:9/0")

    state = await told(
        MetricsPage(state_reader=StateReader(world.metadata, nowhere, world.clock), tenants=1)
    )
    await nowhere.close()

    assert (state["state_known", "metadata"], state["state_known", "scratch"]) == (1, 0)
    assert state["batches", "validating"] == 1
    assert not any(key[0] == "queue_shards" for key in state)


async def test_a_storm_of_scrapes_asks_the_stores_once(world):
    watcher = state_reader(world, kept=timedelta(minutes=1))

    states = await asyncio.gather(*(watcher.state() for _ in range(50)))
    await world.submit(chat_lines(1))
    later = await watcher.state()

    assert all(state is states[0] for state in states)
    assert later is states[0]


@pytest.mark.parametrize(
    ("page", "headers", "status"),
    [
        (MetricsPage(), {}, 200),
        (MetricsPage(public=True), {}, 403),
        (MetricsPage(public=True), {"authorization": "Bearer "}, 403),
        (MetricsPage(public=True, token="t0ken"), {}, 401),
        (MetricsPage(token="t0ken"), {"authorization": "Bearer t0ke"}, 401),
        (MetricsPage(public=True, token="t0ken"), {"authorization": "Bearer t0ken"}, 200),
    ],
)
async def test_the_page_of_a_public_function_wants_its_token(page, headers, status):
    answer = await scraped(page, **headers)

    assert answer.status_code == status
    assert ("batch_gateway_" in answer.text) == (status == 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8080"}, 200),
        ({"host": "127.0.0.1:8080"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_web_pages_do_not_read_it_without_an_authenticator(world, headers, status):
    answer = await scraped(metrics_page("api", world.runtime), **headers)

    assert answer.status_code == status
    assert ("batch_gateway_" in answer.text) == (status == 200)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"batch_gateway_{name}_total", labels) or 0.0


async def test_what_executors_and_the_janitor_do_is_counted(world):
    def counts() -> dict[str, float]:
        return {
            "answered": counted("model_calls", outcome="success"),
            "tokens": counted("tokens", kind="output"),
            "sweeps": counted("sweeps", how="done"),
            "failed": counted("sweeps", how="failed"),
        }

    before = counts()
    await world.run(await world.submit(chat_lines(5)))
    await world.janitor.sweep()

    after = counts()
    assert after["answered"] - before["answered"] == 5
    assert after["tokens"] > before["tokens"]
    assert after["sweeps"] - before["sweeps"] == 1
    assert after["failed"] == before["failed"]


async def test_the_time_of_the_last_event_that_was_given_up_is_told(world):
    page = MetricsPage(state_reader=state_reader(world, kept=timedelta(0)))
    before = await told(page)
    died = world.clock.now()
    attributes = {"id": "1", "source": "/s", "type": "t", "specversion": "1.0"}
    event = ExternalEvent(attributes=attributes, data=b"")
    await world.metadata.dead_letters.put(dead_letter(event, died))

    state = await told(page)

    assert ("last_dead_event_timestamp_seconds",) not in before
    told_at = state[("last_dead_event_timestamp_seconds",)]
    assert told_at == pytest.approx(died.timestamp(), abs=1)
