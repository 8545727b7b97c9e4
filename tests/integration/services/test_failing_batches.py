"""A batch whose requests break the engine, or are refused, keeps no other batch of the model."""

import asyncio
import logging

import pytest
from fixtures.raw_engine import GOOD, engine, http
from fixtures.world import chat_lines

from batch_gateway.adapters.routing_file import RoutingFile
from batch_gateway.core.ids import TenantId
from batch_gateway.core.model import BatchBlockedReason, BatchStatus
from batch_gateway.services.batches.completion_estimates import CompletionEstimates
from batch_gateway.settings import EngineMonitorSettings, ExecutionSettings, RetrySettings

pytestmark = pytest.mark.redis

BAD_ANSWERS = {
    "closed": b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{",
    "502": http(b"<html>bad gateway</html>", b"502 Bad Gateway"),
    "503": http(b"{}", b"503 Service Unavailable"),
    "401": http(b"{}", b"401 Unauthorized"),
}


def lines(count, text):
    made = chat_lines(count)
    for line in made:
        line["body"]["messages"][0]["content"] = text
    return made


async def blocked_reason(world, batch):
    estimates = CompletionEstimates(world.coordination, world.routes, world.clock, ceiling=64)
    [found] = await estimates.add([await world.reload(batch)])
    return found.blocked_reason


async def planned(world, text, tenant):
    batch = await world.submit(lines(60, text), tenant=tenant)
    await world.planner.plan(batch.id)
    return batch


async def ends(world, batch):
    """Wait until all lines of ``batch`` have results, and the executor may have assembled it."""
    while (batch := await world.reload(batch)).status is BatchStatus.IN_PROGRESS:
        await asyncio.sleep(0.05)
    assert batch.counts.completed == batch.counts.total


@pytest.mark.parametrize(
    ("name", "tenant"), [("closed", "t"), ("502", "another"), ("503", "t"), ("401", "t")]
)
async def test_a_batch_whose_calls_all_fail_keeps_no_other_batch(
    make_world, tmp_path, name, tenant, caplog
):
    caplog.set_level(logging.WARNING)
    mended = False
    calls = {"bad": 0, "good": 0}

    def answer(text, _):
        calls[text] += 1
        return http(GOOD) if text == "good" or mended else BAD_ANSWERS[name]

    async with engine(answer) as url:
        routes = tmp_path / "routes.yaml"
        routes.write_text(
            f"endpoints: {{a: {{url: '{url}', breaker: {{pause_s: 0.05, pause_max_s: 0.4}}}}}}\n"
            "default: a"
        )
        world = make_world(
            routing=RoutingFile(routes),
            retry=RetrySettings(attempts=60, backoff_s=0.01, backoff_max_s=0.1, budget=60),
            execution=ExecutionSettings(idle_exit_s=0.3, flush_interval_s=0.05),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )
        bad = await planned(world, "bad", TenantId("t"))
        working = asyncio.create_task(world.work())
        try:
            async with asyncio.timeout(90):
                while "is unavailable" not in caplog.text and "refuses" not in caplog.text:
                    await asyncio.sleep(0.02)
                good = await planned(world, "good", TenantId(tenant))
                await ends(world, good)
                assert calls["good"] == 60

                more = await planned(world, "good", TenantId(tenant))
                await ends(world, more)
                assert (await world.reload(bad)).counts.failed == 0
                assert await blocked_reason(world, bad) in (
                    BatchBlockedReason.WAITING_FOR_MODEL,
                    BatchBlockedReason.ENDPOINT_UNAUTHORIZED,
                )
                mended = True
                await working
        finally:
            working.cancel()
        bad = await world.reload(bad)

    assert (bad.counts.completed, bad.counts.failed) == (60, 0)


async def test_bad_lines_of_a_batch_keep_none_of_its_good_lines(make_world):
    def answer(text, _):
        return http(GOOD) if text == "good" else BAD_ANSWERS["closed"]

    async with engine(answer) as url:
        world = make_world(
            inference_url=url,
            retry=RetrySettings(attempts=3, backoff_s=0.01, backoff_max_s=0.1),
            execution=ExecutionSettings(idle_exit_s=0.3, flush_interval_s=0.05),
            watching=EngineMonitorSettings(metrics=False, probe=False),
        )
        mixed = [*lines(12, "bad"), *lines(60, "good")]
        for number, line in enumerate(mixed):
            line["custom_id"] = str(number)

        batch = await asyncio.wait_for(world.run(await world.submit(mixed)), 90)

    assert (batch.counts.completed, batch.counts.failed) == (60, 12)
