"""A real batch through all functions, driven by the unmodified OpenAI SDK."""

from datetime import UTC, datetime, timedelta

import pytest
from fixtures.gateway import chat_lines, custom_ids

pytestmark = pytest.mark.e2e


async def test_2000_requests_come_back_each_once_in_input_order(start_gateway):
    """With leases and grants of the usual lengths: on a machine that stands still for some seconds,
    an executor with short ones gives up the calls in flight, and they are made again."""
    gateway = await start_gateway(settings={"execution": {}})

    batch = await gateway.ended(await gateway.submit(chat_lines(2000)))

    output, errors = await gateway.results(batch)
    assert batch.status == "completed"
    assert errors == []
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 2001)]
    assert batch.request_counts.completed == batch.request_counts.total == 2000
    assert batch.usage.total_tokens > 0
    assert batch.model == "sim-large"
    assert len([r for r in await gateway.arrivals() if not r["aborted"]]) == 2000


async def test_counts_grow_while_the_batch_runs(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 400, "slots": 8})
    batch = await gateway.submit(chat_lines(300))

    running = await gateway.halfway(batch, done=20)  # the rest takes many seconds more
    await gateway.configure(ttft_ms=0, slots=64)

    assert running.status == "in_progress"
    assert 20 <= running.request_counts.completed < 300
    assert (await gateway.ended(batch)).request_counts.completed == 300


async def test_batches_for_different_models_and_endpoints_run_side_by_side(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 100, "slots": 4})
    embeddings = [
        {
            "custom_id": f"e-{n}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "sim-small", "input": f"text {n}"},
        }
        for n in range(20)
    ]
    large = await gateway.submit(chat_lines(1000))
    large = await gateway.halfway(large, done=10)

    small = await gateway.ended(await gateway.submit(embeddings, endpoint="/v1/embeddings"))
    large = await gateway.client.batches.retrieve(large.id)

    assert small.status == "completed"
    assert large.status == "in_progress"
    await gateway.configure(ttft_ms=0)
    assert custom_ids((await gateway.results(small))[0]) == [f"e-{n}" for n in range(20)]
    assert (await gateway.ended(large)).request_counts.completed == 1000


async def test_good_and_bad_requests_are_parted_into_output_and_error_file(start_gateway):
    gateway = await start_gateway()
    lines = chat_lines(20)
    lines[3]["body"]["model"] = "nobody"

    batch = await gateway.ended(await gateway.submit(lines))

    output, errors = await gateway.results(batch)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (19, 1)
    assert custom_ids(errors) == ["line-4"]
    assert errors[0]["response"]["status_code"] == 404
    assert errors[0]["error"] is None
    assert len(output) == 19


async def test_a_bad_line_fails_the_batch_with_its_number_and_code(start_gateway):
    gateway = await start_gateway()
    lines = chat_lines(3)
    del lines[1]["body"]["messages"]

    batch = await gateway.ended(await gateway.submit(lines))

    assert batch.status == "failed"
    assert [(e.line, e.code, e.param) for e in batch.errors.data] == [
        (2, "invalid_request", "body.messages")
    ]
    assert await gateway.arrivals() == []


async def test_cancelling_keeps_what_is_finished_and_accounts_for_the_rest(start_gateway):
    gateway = await start_gateway(simulator={"ttft_ms": 200, "slots": 8})
    batch = await gateway.halfway(await gateway.submit(chat_lines(500)), done=20)

    cancelled = await gateway.client.batches.cancel(batch.id)
    batch = await gateway.ended(cancelled)

    output, errors = await gateway.results(batch)
    assert cancelled.status == "cancelling"
    assert batch.status == "cancelled"
    assert len(output) >= 20
    assert sorted(custom_ids(output + errors)) == sorted(custom_ids(chat_lines(500)))
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert batch.request_counts.completed == len(output)


async def test_the_window_ends_the_batch_with_partial_results(start_gateway):
    gateway = await start_gateway()
    await gateway.configure(fault_rate=1.0, fault_kinds=["timeout"], fault_match="Question 3?")

    batch = await gateway.halfway(
        await gateway.submit(chat_lines(6), completion_window="1m"), done=5
    )
    await gateway.bring_forward(batch, deadline=datetime.now(UTC) + timedelta(seconds=2))
    batch = await gateway.ended(batch)

    output, errors = await gateway.results(batch)
    assert batch.status == "expired"
    assert custom_ids(output) == [f"line-{n}" for n in (1, 2, 4, 5, 6)]
    assert custom_ids(errors) == ["line-3"]
    assert errors[0]["error"]["code"] == "batch_expired"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (5, 0)


async def test_everything_goes_on_after_a_restart_on_the_same_data(start_gateway, tmp_path):
    first = await start_gateway(simulator={"ttft_ms": 50, "slots": 8})
    batch = await first.halfway(await first.submit(chat_lines(200)), done=30)
    await first.platform.__aexit__(None, None, None)
    await first.configure(ttft_ms=0)

    second = await start_gateway(inference_url=first.inference_url, speed_up=10)
    batch = await second.ended(await second.client.batches.retrieve(batch.id))

    output, _ = await second.results(batch)
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 201)]
    finished = [request for request in await second.arrivals() if not request["aborted"]]
    assert len(finished) < 2 * 200 - 30
