"""Several endpoints for one model: shared work, failover, aliases, priorities, headers."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from fixtures.certificates import Authority
from fixtures.redis import free_port
from fixtures.world import World, chat_lines

from batch_gateway.adapters.routing_file import RoutingFile
from batch_gateway.adapters.sealing import FernetSealer
from batch_gateway.core.model import BatchStatus
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.settings import (
    EngineMonitorSettings,
    ExecutionSettings,
    PlanningSettings,
    RetrySettings,
)

KEY = b"a key"

Route = Callable[[str], World]


@pytest.fixture
def route(make_world, tmp_path: Path) -> Route:
    """A world with this routing file; it is checked at each request for routes."""

    def make(content: str, **changes: object) -> World:
        path = tmp_path / "routes.yaml"
        path.write_text(content)
        routing = RoutingFile(path, clock=count().__next__)
        return make_world(routing=routing, watching=UNWATCHED, **changes)

    return make


#: The endpoints count every call. Calls that a busy machine makes slow are not aborted either.
UNWATCHED = EngineMonitorSettings(metrics=False, probe=False, abort=False)


def lines(count: int, model: str = "m") -> list[dict]:
    return chat_lines(count, model=model)


async def test_replicas_share_the_lines_of_a_batch(route, start_simulator):
    a, b = [await start_simulator(models=("m",), ttft_ms=20, slots=4) for _ in range(2)]
    world = route(f"endpoints: {{a: {{url: {a.url}}}, b: {{url: {b.url}}}}}\nmodels: {{m: [a, b]}}")

    batch = await world.run(await world.submit(lines(60)))

    assert (batch.counts.completed, batch.counts.failed) == (60, 0)
    done = [sim.simulator.stats()["by_status"]["200"] for sim in (a, b)]
    assert sum(done) == 60
    assert min(done) > 10


async def test_weights_decide_where_several_replicas_have_room(route, start_endpoint):
    a, b = [await start_endpoint() for _ in range(2)]
    held = asyncio.Event()

    async def hold(arrival):
        await held.wait()

    a.answer = b.answer = hold
    world = route(
        f"endpoints: {{a: {{url: {a.url}, weight: 3}}, b: {{url: {b.url}}}}}\nmodels: {{m: [a, b]}}"
    )
    batch = await world.submit(lines(8))
    await world.planner.plan(batch.id)
    working = asyncio.create_task(world.work())
    while a.open + b.open < 8:
        await asyncio.sleep(0.01)

    shares = (a.open, b.open)
    held.set()
    await working

    assert shares == (6, 2)


async def test_a_dead_replica_costs_no_line(route, start_simulator):
    alive = await start_simulator(models=("m",), ttft_ms=5, slots=8)
    world = route(
        f"endpoints: {{dead: {{url: 'http://127.0.0.1:{free_port()}'}}, a: {{url: {alive.url}}}}}\n"
        "models: {m: [dead, a]}"
    )

    batch = await world.run(await world.submit(lines(100)))

    assert (batch.counts.completed, batch.counts.failed) == (100, 0)


async def test_a_replica_that_dies_under_way_is_left_to_the_others(
    route, start_simulator, spawn_simulator
):
    survivor = await start_simulator(models=("m",), ttft_ms=20, slots=4)
    victim = spawn_simulator(model="m", ttft_ms=20, slots=4)
    world = route(
        f"endpoints: {{a: {{url: {survivor.url}}}, b: {{url: {victim}}}}}\nmodels: {{m: [a, b]}}",
        retry=RetrySettings(attempts=3, backoff_s=0.05),
    )
    batch = await world.submit(lines(120))
    await world.planner.plan(batch.id)
    working = asyncio.create_task(world.work())
    while survivor.simulator.stats()["requests"] < 20:
        await asyncio.sleep(0.01)

    world.inference_url = victim
    await world.configure(fault_rate=1.0, fault_kinds=["disconnect"])
    await working

    batch = await world.reload(batch)
    assert (batch.counts.completed, batch.counts.failed) == (120, 0)


async def test_a_line_that_failed_at_one_replica_is_tried_at_another_next(route, start_endpoint):
    broken, good = [await start_endpoint() for _ in range(2)]
    broken.status = 500
    world = route(
        f"endpoints: {{a: {{url: {broken.url}, weight: 100}}, b: {{url: {good.url}}}}}\n"
        "models: {m: [a, b]}",
        retry=RetrySettings(attempts=2, backoff_s=0.05),
    )

    batch = await world.run(await world.submit(lines(20)))

    assert (batch.counts.completed, batch.counts.failed) == (20, 0)
    ids = [arrival.headers["x-request-id"] for arrival in broken.arrivals]
    assert len(ids) == len(set(ids)) > 0


async def test_the_breaker_keeps_a_sick_replica_free_of_calls(route, start_endpoint):
    sick, good = [await start_endpoint() for _ in range(2)]
    sick.status = 503

    async def slow(arrival):
        await asyncio.sleep(0.01)

    good.answer = slow
    world = route(
        f"endpoints: {{a: {{url: {sick.url}, breaker: {{failures: 3, pause_s: 30,"
        f" pause_max_s: 30}}}}, b: {{url: {good.url}}}}}\nmodels: {{m: [a, b]}}",
    )

    batch = await world.run(await world.submit(lines(200)))

    assert batch.counts.completed == 200
    assert len(sick.arrivals) <= 8 + 2  # the slots it began with, until the third has failed


async def test_an_alias_changes_the_model_and_nothing_else(route, start_endpoint):
    endpoint = await start_endpoint()
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}}}}}\n"
        "models: {real: {replicas: [{endpoint: a, served_as: org/real}]}}\n"
        "aliases: {nick: real}\nadapters: {lora: {model: real, served_as: lora-7}}"
    )
    body = (
        '{"n": 12345678901234567890, "model" : "%s",  "messages":[{"role":"user","content":"ü"}]}'
    )
    content = "".join(
        f'{{"custom_id": "{name}", "method": "POST", "url": "/v1/chat/completions", '
        f'"body": {body % name}}}\n'
        for name in ("real", "nick", "lora")
    )

    batch = await world.run(await world.submit(content.encode()))

    assert batch.counts.completed == 3
    assert sorted(arrival.body.decode() for arrival in endpoint.arrivals) == [
        body % "lora-7",
        body % "org/real",
        body % "org/real",
    ]
    pools = await world.coordination.slots.pools()
    assert [state.pool for state in pools] == ["a/org/real"]


@pytest.mark.parametrize(("engine", "value"), [("vllm", 105), ("sglang", -105)])
async def test_bodies_get_a_priority_as_their_engine_reads_it(route, start_endpoint, engine, value):
    endpoint = await start_endpoint()
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, priority: {engine}}}}}\nmodels: {{m: a}}"
    )
    batch = lines(2)
    batch[1]["body"]["priority"] = -1000

    await world.run(await world.submit(batch))

    bodies = [json.loads(arrival.body) for arrival in endpoint.arrivals]
    assert [body["priority"] for body in bodies] == [value, value]


async def test_a_name_that_nobody_serves_is_refused_in_planning(route, start_endpoint):
    endpoint = await start_endpoint()
    world = route(f"endpoints: {{a: {{url: {endpoint.url}}}}}\nmodels: {{m: a}}", strict=True)

    batch = await world.run(await world.submit(lines(2, "nobody")))

    assert batch.status is BatchStatus.FAILED
    assert batch.errors[0].code == "model_not_found"


async def test_each_attempt_tells_who_asks_and_how_long_there_is(route, start_endpoint):
    endpoint = await start_endpoint()
    seen = []

    async def slow_then_good(arrival):
        seen.append(int(arrival.headers["x-slo-ttft-ms"]))
        endpoint.status = 500 if len(seen) == 1 else 200

    endpoint.answer = slow_then_good
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, objective: batch}}}}\nmodels: {{m: a}}",
        retry=RetrySettings(backoff_s=0.2),
    )

    batch = await world.run(await world.submit(lines(1)))

    assert batch.counts.completed == 1
    headers = endpoint.arrivals[0].headers
    assert headers["x-gateway-inference-fairness-id"] == "acme"
    assert headers["x-gateway-inference-objective"] == "batch"
    assert headers["content-type"] == "application/json"
    first, second = seen
    assert 86_300_000 < second <= first - 100 < 86_400_000


async def test_routes_that_change_under_way_are_taken_up(route, start_endpoint, tmp_path):
    old, new = [await start_endpoint() for _ in range(2)]

    async def slow(arrival):
        await asyncio.sleep(0.03)

    old.answer = slow
    world = route(f"endpoints: {{a: {{url: {old.url}}}}}\nmodels: {{m: a}}")
    batch = await world.submit(lines(400))
    await world.planner.plan(batch.id)
    working = asyncio.create_task(world.work())
    while not old.arrivals:
        await asyncio.sleep(0.01)

    (tmp_path / "routes.yaml").write_text(f"endpoints: {{b: {{url: {new.url}}}}}\nmodels: {{m: b}}")
    await working

    batch = await world.reload(batch)
    assert batch.counts.completed == 400
    assert len(old.arrivals) + len(new.arrivals) == 400
    assert len(new.arrivals) > 100


async def test_a_model_that_is_not_served_any_more_waits_for_others(
    route, start_endpoint, tmp_path
):
    endpoint = await start_endpoint()

    async def slow(arrival):
        await asyncio.sleep(0.03)

    endpoint.answer = slow
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}}}}}\nmodels: {{m: a}}",
        execution=ExecutionSettings(soft_budget_s=3, hard_budget_s=4),
    )
    batch = await world.submit(lines(300))
    await world.planner.plan(batch.id)
    working = asyncio.create_task(world.work())
    while not endpoint.arrivals:
        await asyncio.sleep(0.01)

    (tmp_path / "routes.yaml").write_text(
        f"endpoints: {{a: {{url: {endpoint.url}}}}}\nmodels: {{n: a}}"
    )
    await working

    batch = await world.reload(batch)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert 0 < len(endpoint.arrivals) < 300


async def test_a_key_that_is_rotated_goes_with_the_next_calls(route, start_endpoint, tmp_path):
    endpoint = await start_endpoint()
    key = tmp_path / "key"
    key.write_text("old")

    async def slow(arrival):
        await asyncio.sleep(0.03)

    endpoint.answer = slow
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, api_key_file: {key}}}}}\nmodels: {{m: a}}"
    )
    batch = await world.submit(lines(400))
    await world.planner.plan(batch.id)
    working = asyncio.create_task(world.work())
    while not endpoint.arrivals:
        await asyncio.sleep(0.01)

    key.write_text("new")
    await working

    sent = [arrival.headers["authorization"] for arrival in endpoint.arrivals]
    assert sorted(set(sent)) == ["Bearer new", "Bearer old"]
    assert sent == sorted(sent, reverse=True)


async def test_calls_go_over_mutual_tls(route, start_endpoint, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway")
    endpoint = await start_endpoint(tls=authority.server(clients=True))
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, ca_file: '{authority.ca}',"
        f" client_cert_file: {certificate}, client_key_file: {key}}}}}\nmodels: {{m: a}}",
        planning=PlanningSettings(shard_lines=4),
    )

    batch = await world.run(await world.submit(lines(8)))

    assert batch.counts.completed == 8
    assert {arrival.peer for arrival in endpoint.arrivals} == {"gateway"}


def passing(*keys: bytes) -> HeaderPassthrough:
    return HeaderPassthrough(FernetSealer(keys))


HUSH = {"authorization": "Bearer hush", "x-team": "blue"}


async def test_a_clients_headers_go_with_its_calls_until_the_batch_ends(route, start_endpoint):
    endpoint = await start_endpoint()
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}}}}}\nmodels: {{m: a}}",
        header_passthrough=passing(KEY),
    )

    batch = await world.run(await world.submit(lines(3), headers=HUSH))

    assert batch.counts.completed == 3
    assert {arrival.headers["authorization"] for arrival in endpoint.arrivals} == {"Bearer hush"}
    assert {arrival.headers["x-team"] for arrival in endpoint.arrivals} == {"blue"}
    assert batch.sealed is None


async def test_an_endpoints_own_key_is_not_replaced_by_a_clients(
    route, start_endpoint, monkeypatch
):
    endpoint = await start_endpoint()
    monkeypatch.setenv("ENGINE_KEY", "ours")
    world = route(
        f"endpoints: {{a: {{url: {endpoint.url}, api_key_env: ENGINE_KEY}}}}\nmodels: {{m: a}}",
        header_passthrough=passing(KEY),
    )

    await world.run(await world.submit(lines(1), headers=HUSH))

    assert endpoint.arrivals[0].headers["authorization"] == "Bearer ours"


async def test_headers_that_no_key_opens_wait_for_it(route, start_endpoint):
    endpoint = await start_endpoint()
    routes = f"endpoints: {{a: {{url: {endpoint.url}}}}}\nmodels: {{m: a}}"
    rules = ExecutionSettings(soft_budget_s=0.8, hard_budget_s=1, lease_ttl_s=0.5)
    world = route(routes, header_passthrough=passing(KEY), execution=rules)
    batch = await world.submit(lines(2), headers=HUSH)
    await world.planner.plan(batch.id)

    world.header_passthrough = passing(b"other")
    await world.work()
    assert endpoint.arrivals == []
    world.header_passthrough = passing(b"other", KEY)
    async with asyncio.timeout(45):
        while not endpoint.arrivals:  # until the lease that came to nothing has run out
            await world.janitor.sweep()
            await world.work()

    assert (await world.reload(batch)).counts.completed == 2
