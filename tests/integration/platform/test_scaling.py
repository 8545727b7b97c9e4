"""How many processes a Service has, and what happens to requests that find none."""

import asyncio
import json
import logging

import pytest
from fixtures.toys import PATIENCE_S, eventually

from batch_gateway.local import revision
from batch_gateway.local.platform import PlatformError, ReplicaState


async def test_a_service_starts_for_its_first_request_and_ends_when_idle(toys):
    toys.service("front")
    toys.service("back", public=False)
    async with toys.up() as running:
        platform = running.platform
        assert platform.pids("back") == []

        answer = await running.http.get(
            f"{platform.internal_url}/", headers={"Host": platform.host("back")}
        )

        assert answer.json()["env"]["K_SERVICE"] == "back"
        assert platform.pids("back") == [answer.json()["pid"]]
        await eventually(lambda: platform.pids("back") == [])


async def test_the_public_service_is_started_once_at_the_beginning(toys):
    toys.service(annotations={"window": "600s"})
    async with toys.up() as running:
        (pid,) = running.platform.pids("toy")

        answer = await running.http.get("/")

        assert answer.json()["pid"] == pid


async def test_min_scale_keeps_processes_that_nobody_asks(toys):
    toys.service("toy", annotations={"min-scale": "1"})
    toys.service("idle", public=False)
    async with toys.up() as running:
        (pid,) = running.platform.pids("toy")
        address = running.platform.internal_url
        await running.http.get(address, headers={"Host": running.platform.host("idle")})

        await eventually(lambda: running.platform.pids("idle") == [])

        assert running.platform.pids("toy") == [pid]


async def test_a_file_names_the_processes_that_there_are_to_prometheus(toys):
    toys.service(annotations={"window": "600s"})
    toys.service("back", public=False, annotations={"window": "40s"})
    async with toys.up() as running:
        platform = running.platform
        file = platform.data / "run" / "metrics-targets.json"

        def named() -> dict[str, list[str]]:
            groups = json.loads(file.read_text())
            return {group["labels"]["service"]: group["targets"] for group in groups}

        front = [f"127.0.0.1:{port}" for port in platform.ports("toy")]
        assert named() == {"toy": front}
        address = platform.internal_url
        await running.http.get(address, headers={"Host": platform.host("back")})
        assert set(named()) == {"toy", "back"}
        (back,) = named()["back"]
        assert (await running.http.get(f"http://{back}/")).json()["env"]["K_SERVICE"] == "back"

        await eventually(lambda: named() == {"toy": front})

        assert platform.pids("back") == []


async def test_a_request_in_flight_keeps_its_process(toys):
    toys.service()
    async with toys.up() as running:
        answer = await running.http.get("/sleep?s=1.5")  # five idle windows

        assert answer.status_code == 200
        assert running.platform.pids("toy") == [int(answer.text)]


async def test_container_concurrency_is_never_exceeded(toys):
    toys.service(concurrency=1, annotations={"max-scale": "1"})
    async with toys.up() as running:
        answers = await asyncio.gather(*(running.http.get("/sleep?s=0.1") for _ in range(4)))

        assert [answer.status_code for answer in answers] == [200] * 4
        assert [entry["slept"] for entry in toys.journal()] == ["begin", "end"] * 4


async def test_more_requests_than_the_target_start_more_processes(toys):
    toys.service(concurrency=1, annotations={"max-scale": "3"})
    async with toys.up(most_replicas=3) as running:
        asked = [asyncio.create_task(running.http.get("/sleep?s=60")) for _ in range(3)]

        await eventually(
            lambda: [busy for _, busy in running.platform.states("toy").values()] == [1, 1, 1]
        )
        for request in asked:
            request.cancel()
        await eventually(lambda: running.platform.pids("toy") == [])


async def test_there_are_never_more_processes_than_the_cores_can_use(toys):
    toys.service(concurrency=1, annotations={"max-scale": "3"})
    async with toys.up(most_replicas=2) as running:
        answers = await asyncio.gather(*(running.http.get("/sleep?s=1.5") for _ in range(3)))

        assert [answer.status_code for answer in answers] == [200] * 3
        assert len({answer.text for answer in answers}) <= 2


async def test_a_request_that_succeeds_starts_what_it_leads_to(toys):
    toys.service(start_next="POST /work: back, nothing\nPOST /refuse: back")
    toys.service("back", public=False, annotations={"window": "600s"})
    async with toys.up() as running:
        platform = running.platform
        assert (await running.http.get("/work")).status_code == 200
        assert (await running.http.post("/refuse", content=b"x")).status_code == 413
        assert platform._machine.replicas("back") == []

        await running.http.post("/work?now=1")

        await eventually(
            lambda: ReplicaState.READY in {s for s, _ in platform.states("back").values()}
        )
        (pid,) = platform.pids("back")
        asked = await running.http.get(
            platform.internal_url, headers={"Host": platform.host("back")}
        )
        assert asked.json()["pid"] == pid


async def test_what_is_over_in_a_moment_starts_no_further_process(toys, monkeypatch):
    monkeypatch.setattr(revision, "_PATIENCE_S", 20)
    toys.service(concurrency=1, annotations={"max-scale": "3"})
    async with toys.up() as running:
        answers = await asyncio.gather(*(running.http.get("/sleep?s=0.1") for _ in range(3)))

        assert len({answer.text for answer in answers}) == 1


async def test_a_full_queue_is_answered_503(toys):
    toys.service(concurrency=1, annotations={"max-scale": "1"})
    async with toys.up() as running, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(running.http.get("/sleep?s=60"))
        await eventually(lambda: toys.slept("begin") == 1)

        queued = [tasks.create_task(running.http.get("/sleep?s=0")) for _ in range(11)]
        done, waiting = await asyncio.wait(queued, return_when=asyncio.FIRST_COMPLETED)
        assert [request.result().status_code for request in done] == [503]
        first.cancel()  # its client leaves, so the others get their turns

        assert [(await request).status_code for request in waiting] == [200] * 10


async def test_a_late_answer_is_504_and_its_function_hears_of_it(toys):
    toys.service(timeout=1)
    async with toys.up() as running:
        async with asyncio.timeout(PATIENCE_S):
            while not toys.slept("client left"):  # a busy machine may not begin within the second
                answer = await running.http.get("/sleep?s=20")
                assert (answer.status_code, answer.text) == (504, "request timeout\n")
                await asyncio.sleep(0.1)


async def test_an_answer_must_begin_within_its_own_limit(toys):
    toys.service(timeout=25, response_start=1)
    async with toys.up() as running:
        answer = await running.http.get("/sleep?s=20")

        assert answer.status_code == 504


async def test_waiting_in_the_queue_counts_against_the_limit(toys):
    toys.service(concurrency=1, timeout=5, annotations={"max-scale": "1"})
    async with toys.up() as running:
        await running.http.get("/")  # its process runs now
        answers = await asyncio.gather(*(running.http.get("/sleep?s=2.7") for _ in range(2)))

        assert sorted(answer.status_code for answer in answers) == [200, 504]


async def test_a_killed_process_is_replaced_on_demand(toys):
    toys.service()
    async with toys.up() as running:
        request = asyncio.create_task(running.http.get("/sleep?s=20"))
        await eventually(lambda: toys.slept("begin") == 1)

        killed = running.platform.kill("toy")

        assert (await request).status_code == 502
        answer = await running.http.get("/")
        assert answer.json()["pid"] != killed


async def test_a_process_killed_over_a_request_is_replaced_before_that_comes_again(toys):
    toys.service()
    async with toys.up() as running:
        request = asyncio.create_task(running.http.get("/sleep?s=20"))
        await eventually(lambda: toys.slept("begin") == 1)

        killed = running.platform.kill("toy")

        assert (await request).status_code == 502
        await eventually(lambda: set(running.platform.pids("toy")) - {killed})


async def test_a_terminated_process_finishes_its_request(toys):
    toys.service()
    async with toys.up() as running:
        request = asyncio.create_task(running.http.get("/sleep?s=0.5"))
        await eventually(lambda: toys.slept("begin") == 1)

        terminated = running.platform.terminate("toy")

        assert (await request).text == str(terminated)


async def test_a_public_service_that_crashes_is_told_with_its_last_words(toys):
    toys.service(env={"TOY_CRASHES": "yes"})

    with pytest.raises(PlatformError, match=r"toy does not start: .*broken on purpose"):
        async with toys.up():
            pass


async def test_an_inner_service_that_crashes_is_told_and_answered_503(toys, caplog):
    toys.service("front")
    toys.service("back", public=False, env={"TOY_CRASHES": "yes"})
    async with toys.up() as running:
        with caplog.at_level(logging.ERROR):
            answer = await running.http.get(
                running.platform.internal_url, headers={"Host": running.platform.host("back")}
            )

        assert answer.status_code == 503
        assert "back does not start" in caplog.text
        assert "the toy is broken on purpose" in caplog.text


async def test_functions_get_their_environment_as_on_knative(toys):
    toys.config_map("shared", BATCH_GATEWAY_LOG__LEVEL="debug", BATCH_GATEWAY_API__MODE="strict")
    toys.service(config_map="shared", env={"OWN": "value"})
    toys.broker()
    settings = {"log": {"level": "error"}, "inference": {"models": ["a", "b"]}}
    async with toys.up(settings=settings) as running:
        environment = (await running.http.get("/")).json()["env"]

        assert environment["OWN"] == "value"
        assert environment["K_SERVICE"] == environment["K_CONFIGURATION"] == "toy"
        assert environment["K_REVISION"] == "toy-00001"
        assert environment["K_SINK"] == running.platform.broker_url
        assert environment["BATCH_GATEWAY_LOG__LEVEL"] == "error"  # the flag wins
        assert environment["BATCH_GATEWAY_API__MODE"] == "strict"
        assert environment["BATCH_GATEWAY_INFERENCE__MODELS"] == '["a", "b"]'
        assert environment["BATCH_GATEWAY_SCRATCH__URL"] == running.platform.scratch_url
        assert environment["BATCH_GATEWAY_EVENTS__SIGNING_KEYS"]
