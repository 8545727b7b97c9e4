"""The simulator over HTTP: the official SDK drives it, and tests can look inside and change it."""

import asyncio
import base64
import hashlib
import json
import random
import struct
import subprocess
import sys

import httpx
import pytest
from fixtures.simulator import until
from openai import APIConnectionError, AsyncOpenAI, InternalServerError, NotFoundError, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.hostile import ConnectionEnding, HostileAnswer, draw_hostile
from batch_gateway.simulator.server import serving

HELLO = [{"role": "user", "content": "hello"}]


def chat(text: str = "hello", **fields: object) -> dict[str, object]:
    return {"model": "sim-large", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
async def http(start_simulator):
    """A client of a simulator that answers at once."""
    here = await start_simulator()
    async with httpx.AsyncClient(base_url=here.url, timeout=30) as client:
        yield client


@pytest.fixture
async def sdk(start_simulator):
    here = await start_simulator()
    async with AsyncOpenAI(base_url=f"{here.url}/v1", api_key="any", max_retries=0) as client:
        yield client


# --- the SDK


async def test_the_sdk_completes_a_chat(sdk):
    answer = await sdk.chat.completions.create(model="sim-large", messages=HELLO, max_tokens=9)

    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].message.content) == 9 * 4
    assert answer.usage.completion_tokens == 9
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 9
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_a_streamed_chat_says_the_same_as_an_unstreamed_one(sdk):
    stream = await sdk.chat.completions.create(
        model="sim-large",
        messages=HELLO,
        max_tokens=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [len(text) for text in texts if text] == [4] * 5
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 5


async def test_the_sdk_asks_for_several_choices(sdk):
    answer = await sdk.chat.completions.create(model="sim-large", messages=HELLO, n=3)

    assert len({choice.message.content for choice in answer.choices}) == 3


async def test_the_sdk_completes_prompts(sdk):
    answer = await sdk.completions.create(model="sim-large", prompt=["a", "b"], max_tokens=4)

    assert [len(choice.text) for choice in answer.choices] == [16, 16]
    assert answer.usage.completion_tokens == 8


async def test_the_sdk_embeds_texts(sdk):
    answer = await sdk.embeddings.create(model="sim-small", input=["a", "b", "a"], dimensions=8)

    first, second, third = (item.embedding for item in answer.data)
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-4)


async def test_embeddings_are_the_same_in_both_encodings(http):
    request = {"model": "sim-small", "input": "a", "dimensions": 4}

    plain = (await http.post("/v1/embeddings", json=request)).json()
    packed = (
        await http.post("/v1/embeddings", json={**request, "encoding_format": "base64"})
    ).json()

    numbers = struct.unpack("<4f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(numbers) == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


async def test_the_sdk_makes_a_response(sdk):
    answer = await sdk.responses.create(
        model="sim-large", instructions="be brief", input="hello", max_output_tokens=16
    )

    assert len(answer.output_text) == 16 * 4
    assert answer.status == "incomplete"
    assert answer.usage.output_tokens == 16


async def test_the_sdk_moderates(sdk):
    answer = await sdk.moderations.create(model="sim-small", input=["nice", "pure violence"])

    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence


async def test_vllm_s_bodies_beyond_openai_s_are_answered(http):
    """As vLLM answers them: the same members, scores by pair, documents by relevance."""
    document = {"text_1": "q", "text_2": ["one", "two"]}
    scored = (await http.post("/v1/score", json=document)).json()
    ranked = (
        await http.post("/v1/rerank", json={"query": "q", "documents": ["one", "two"], "top_n": 1})
    ).json()
    uneven = await http.post("/v1/score", json={"text_1": ["a", "b"], "text_2": ["c", "d", "e"]})
    chat = {"model": "sim-small", "messages": HELLO}
    embedded = (await http.post("/v1/embeddings", json=chat)).json()
    continued = await http.post(
        "/v1/completions", json={"model": "sim-small", "prompt_embeds": "AAAA"}
    )

    scores = [one["score"] for one in scored["data"]]
    assert [one["index"] for one in scored["data"]] == [0, 1]
    assert [one["relevance_score"] for one in ranked["results"]] == [max(scores)]
    assert ranked["results"][0]["document"] == {"text": ["one", "two"][scores.index(max(scores))]}
    assert (uneven.status_code, continued.status_code) == (400, 200)
    assert len(embedded["data"][0]["embedding"]) == 64


async def test_the_sdk_lists_the_models(sdk):
    assert [model.id async for model in sdk.models.list()] == ["sim-large", "sim-small"]


async def test_an_unknown_model_is_not_found(sdk):
    with pytest.raises(NotFoundError) as error:
        await sdk.chat.completions.create(model="gpt-none", messages=HELLO)

    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_the_process_says_where_it_listens_and_stops_on_sigterm(spawn_simulator):
    url = spawn_simulator(model=["one", "two"], slots=3)

    with OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["one", "two"]


def test_a_wrong_option_is_refused_by_name():
    told = subprocess.run(
        [sys.executable, "-m", "batch_gateway.simulator", "--fault-kind", "fire"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 2
    assert "fault_kinds" in told.stderr


# --- answers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat()),
        ("/v1/completions", {"model": "sim-large", "prompt": "a"}),
        ("/v1/embeddings", {"model": "sim-small", "input": [1, 2, 3]}),
        ("/v1/responses", {"model": "sim-large", "input": HELLO}),
        ("/v1/moderations", {"input": "a"}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
        ("/v1/rerank", {"query": "a", "documents": ["b", "c"]}),
    ],
)
async def test_equal_requests_have_equal_answers_on_every_simulator(start_simulator, path, body):
    one, two = await start_simulator(), await start_simulator(seed=7)
    async with httpx.AsyncClient() as client:
        answers = [
            (await client.post(here.url + path, json=body)).content for here in (one, one, two)
        ]

    assert len(set(answers)) == 1
    assert json.loads(answers[0])["model"]


async def test_different_requests_have_different_answers(http):
    answers = [
        (await http.post("/v1/chat/completions", json=chat(f"hello {n}"))).json()["choices"]
        for n in range(50)
    ]

    assert len({json.dumps(choices) for choices in answers}) == 50


async def test_a_shared_prompt_head_comes_from_the_cache(http):
    system = {"role": "system", "content": "You are a patient clerk. " * 40}

    usages = []
    for text in ("first question", "second question"):
        body = chat(messages=[system, {"role": "user", "content": text}])
        usages.append((await http.post("/v1/chat/completions", json=body)).json()["usage"])

    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached[0] == 0
    assert 240 <= cached[1] <= 256  # of about 255 shared tokens, in blocks of 16


async def test_an_unreadable_body_and_an_unknown_path_have_openais_errors(http):
    wrong = await http.post("/v1/chat/completions", content=b"{nope")
    lost = await http.get("/v1/files")

    assert (wrong.status_code, lost.status_code) == (400, 404)
    assert wrong.json()["error"]["type"] == "invalid_request_error"
    assert lost.json()["error"]["message"] == "Invalid URL (GET /v1/files)"


# --- HTTP


async def converse(url: str, request: bytes) -> bytes:
    """Send raw bytes, half-close never, and read until the server closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order_and_close_is_obeyed(start_simulator):
    here = await start_simulator(ttft_ms=1)
    body = json.dumps(chat()).encode()
    post = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
    last = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    answer = await converse(here.url, post % (len(body), body) * 2 + last)

    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"chat.completion") == 2
    assert answer.endswith(b"{}")


async def test_chunked_bodies_and_expect_continue_are_understood(start_simulator):
    here = await start_simulator()
    body = json.dumps(chat()).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    )

    answer = await converse(here.url, request)

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_what_is_not_http_is_cut_off(start_simulator):
    here = await start_simulator()

    assert await converse(here.url, b"\x16\x03\x01 hello?\r\n\r\n") == b""


# --- faults and overload


@pytest.mark.parametrize("status", [429, 503])
async def test_beyond_slots_and_queue_requests_are_refused(start_simulator, status):
    here = await start_simulator(
        ttft_ms=60_000, slots=2, queue=1, refuse_status=status, retry_after_s=1.5
    )
    async with (
        httpx.AsyncClient(base_url=here.url, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        held = [
            group.create_task(client.post("/v1/chat/completions", json=chat(str(n))))
            for n in range(3)
        ]
        await until(lambda: here.simulator.stats()["running"] == 2)

        refused = await client.post("/v1/chat/completions", json=chat())
        for task in held:
            task.cancel()

    assert refused.status_code == status
    assert refused.headers["retry-after"] == "2"
    assert here.simulator.stats()["max_in_flight"] == 4


@pytest.mark.parametrize("kind", ["429", "503", "500"])
async def test_a_fault_answers_its_status(start_simulator, kind):
    here = await start_simulator(fault_rate=1, fault_kinds=[kind], retry_after_s=3)
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{here.url}/v1/chat/completions", json=chat())

    assert answer.status_code == int(kind)
    assert answer.headers.get("retry-after") == (None if kind == "500" else "3")
    assert here.simulator.stats()["faults"] == {kind: 1}


@pytest.mark.parametrize("kind", ["disconnect", "cut"])
async def test_a_fault_breaks_the_connection(start_simulator, kind):
    here = await start_simulator(fault_rate=1, fault_kinds=[kind])
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(f"{here.url}/v1/chat/completions", json=chat())
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(f"{here.url}/v1/chat/completions", json=chat(stream=True))

    stats = here.simulator.stats()
    assert (stats["by_status"], stats["in_flight"], stats["running"]) == ({}, 0, 0)


async def test_a_malformed_answer_is_no_json(start_simulator):
    here = await start_simulator(fault_rate=1, fault_kinds=["malformed"])
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{here.url}/v1/chat/completions", json=chat())

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_a_timeout_fault_never_answers(start_simulator):
    here = await start_simulator(fault_rate=1, fault_kinds=["timeout"])
    async with AsyncOpenAI(
        base_url=f"{here.url}/v1", api_key="any", max_retries=0, timeout=0.2
    ) as client:
        with pytest.raises(APIConnectionError):
            await client.chat.completions.create(model="sim-large", messages=HELLO)


async def exchanged(url: str, answer: HostileAnswer) -> bytes:
    """The bytes of one answer: all of it, and two drops of one that never ends."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(chat()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        async with asyncio.timeout(45):
            found = await reader.readexactly(len(answer.wire) + 2 * len(answer.drop))
            if answer.then is ConnectionEnding.CLOSE:
                assert await reader.read() == b""
            return found
    finally:
        writer.close()


async def test_hostile_answers_are_bytes_drawn_from_the_seed(start_simulator):
    ends = set()
    for seed in (1, 2):
        here = await start_simulator(fault_rate=1, fault_kinds=["hostile"], seed=seed)
        expected = random.Random(seed)
        for _ in range(30):
            answer = draw_hostile(expected)
            assert await exchanged(here.url, answer) == answer.wire + 2 * answer.drop
            ends.add(answer.then)
        await until(lambda here=here: here.simulator.stats()["in_flight"] == 0)
        assert here.simulator.stats()["faults"] == {"hostile": 30}

    assert ends == set(ConnectionEnding)


async def test_faults_can_be_bound_to_first_attempts_and_to_some_bodies(start_simulator):
    here = await start_simulator(fault_rate=1, fault_match="unlucky", fault_attempts=2)
    async with httpx.AsyncClient(base_url=here.url) as client:
        seen = {
            text: [
                (await client.post("/v1/chat/completions", json=chat(text))).status_code
                for _ in range(4)
            ]
            for text in ("unlucky", "fine")
        }

    assert seen == {"unlucky": [503, 503, 200, 200], "fine": [200] * 4}


async def test_the_same_seed_brings_the_same_faults(start_simulator):
    runs = []
    for seed in (1, 1, 2):
        here = await start_simulator(fault_rate=0.5, fault_kinds=["429", "500"], seed=seed)
        async with httpx.AsyncClient(base_url=here.url) as client:
            runs.append(
                [
                    (await client.post("/v1/chat/completions", json=chat(str(n)))).status_code
                    for n in range(30)
                ]
            )

    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 429, 500}


async def test_a_client_that_hangs_up_frees_the_slot(start_simulator):
    here = await start_simulator(ttft_ms=60_000, slots=1)
    async with httpx.AsyncClient(timeout=30) as client:
        task = asyncio.create_task(client.post(f"{here.url}/v1/chat/completions", json=chat()))
        await until(lambda: here.simulator.stats()["running"] == 1)

        task.cancel()
        await until(lambda: here.simulator.stats()["running"] == 0)

    (entry,) = here.simulator.journal.since(0)
    assert entry.aborted
    assert entry.status is None


# --- the doors for tests


async def test_what_arrived_is_told_in_order(http):
    for n in range(3):
        body = json.dumps(chat(str(n)))
        await http.post("/v1/chat/completions", content=body, headers={"X-Request-Id": f"r{n}"})

    entries = (await http.get("/_sim/requests", params={"since": 1})).json()

    assert [(entry["n"], entry["request_id"]) for entry in entries] == [(2, "r1"), (3, "r2")]
    assert entries[-1]["digest"] == hashlib.sha256(body.encode()).hexdigest()
    assert entries[-1]["headers"] == {"x-request-id": "r2"}
    assert entries[-1]["arrived_at"] <= entries[-1]["started_at"] <= entries[-1]["ended_at"]


async def test_stats_add_up(http):
    await http.post("/v1/chat/completions", json=chat(max_tokens=4))
    await http.post("/v1/embeddings", json={"model": "sim-small", "input": "abcdefgh"})
    await http.post("/v1/embeddings", json={"model": "none", "input": "a"})

    stats = (await http.get("/_sim/stats")).json()

    assert (stats["requests"], stats["by_status"]) == (3, {"200": 2, "404": 1})
    assert stats["models"]["sim-large"]["output_tokens"] == 4
    assert stats["models"]["sim-small"]["prompt_tokens"] == 2


async def test_behaviour_changes_at_run_time_and_a_reset_restores_it(http):
    changed = await http.post("/_sim/config", json={"fault_rate": 1, "fault_kinds": ["500"]})
    faulty = await http.post("/v1/chat/completions", json=chat())
    await http.post("/_sim/reset")
    healthy = await http.post("/v1/chat/completions", json=chat())
    stats = (await http.get("/_sim/stats")).json()

    assert changed.json()["fault_rate"] == 1
    assert (faulty.status_code, healthy.status_code) == (500, 200)
    assert stats["requests"] == 1


@pytest.mark.parametrize(
    ("change", "named"), [({"slots": 0}, "slots"), ({"models": ["x"]}, "models"), ([], "array")]
)
async def test_a_wrong_change_is_refused_and_changes_nothing(http, change, named):
    answer = await http.post("/_sim/config", json=change)

    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


async def test_the_metrics_have_vllms_names_and_parse(start_simulator):
    here = await start_simulator(ttft_ms=60_000, slots=1)
    async with (
        httpx.AsyncClient(base_url=here.url, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        held = [
            group.create_task(client.post("/v1/chat/completions", json=chat(str(n))))
            for n in range(3)
        ]
        await until(lambda: here.simulator.stats()["waiting"] == 2)
        text = (await client.get("/metrics")).text
        for task in held:
            task.cancel()

    samples = {
        (sample.name, sample.labels["model_name"], sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["vllm:num_requests_running", "sim-large", None] == 1
    assert samples["vllm:num_requests_waiting", "sim-large", None] == 2
    assert samples["vllm:kv_cache_usage_perc", "sim-large", None] > 0
    assert samples["vllm:prefix_cache_queries_total", "sim-large", None] > 0
    assert samples["vllm:prefix_cache_hits_total", "sim-large", None] == 0
    assert samples["vllm:time_to_first_token_seconds_bucket", "sim-large", "+Inf"] == 0
    assert ("vllm:prompt_tokens_total", "sim-small", None) in samples
    assert ("vllm:generation_tokens_total", "sim-small", None) in samples
    assert ("vllm:request_success_total", "sim-small", None) in samples


async def test_the_sdk_sees_a_fault_as_its_own_error(start_simulator):
    here = await start_simulator(fault_rate=1, fault_kinds=["500"])
    async with AsyncOpenAI(base_url=f"{here.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(InternalServerError):
            await client.chat.completions.create(model="sim-large", messages=HELLO)


async def test_stopping_the_server_cuts_open_requests_off():
    async with httpx.AsyncClient(timeout=30) as client:
        async with serving(SimulatorConfig.checked(ttft_ms=60_000)) as here:
            call = asyncio.create_task(client.post(f"{here.url}/v1/chat/completions", json=chat()))
            await until(lambda: here.simulator.stats()["running"] == 1)

        with pytest.raises(httpx.RemoteProtocolError):
            await call

    assert here.simulator.stats()["running"] == 0
