"""Usage and analytics are those of the engine's own log, though executor and planner are killed.

An answer of the engine counts when it is kept: it stands in an output file, under the id that its
request had. Answers that an executor had in memory when it was killed do not: the line runs again,
and its other answer counts. Refusals (429) that are followed by another attempt do not count,
nor do requests that get another one's answer.
"""

import asyncio
from collections import defaultdict

import httpx
import pytest
from fixtures.gateway import chat_lines

from batch_gateway.core.layout import work_prefix

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

LINES, SAME = 120, 10
PLANNED = 400  # so many shards that writing them takes a moment
SLOW = {"ttft_ms": 40, "slots": 16}
FEW, SLOW_CALL_MS = 8, 4000
BUCKET = 2 ** (1 / 8)  # from a bucket's lower to its upper bound


def same_requests():
    (line,) = chat_lines(1)
    body = line["body"] | {"temperature": 0}
    return [{**line, "custom_id": f"same-{n}", "body": body} for n in range(SAME)]


def kept(output, arrivals):
    """The engine's answers that stand in an output file."""
    answers = defaultdict(list)
    for arrival in arrivals:
        if arrival["status"] == 200:
            answers[arrival["request_id"]].append(arrival)
    found = []
    for line in output:
        if (candidates := answers.get(line["id"])) is None:
            continue  # it is another one's answer
        usage = line["response"]["body"]["usage"]
        found.append(next(one for one in reversed(candidates) if one["usage"] == usage))
    return found


def tokens(answers):
    used = [one["usage"] for one in answers]
    return {
        "input_tokens": sum(one["prompt_tokens"] for one in used),
        "input_cached_tokens": sum(one["prompt_tokens_details"]["cached_tokens"] for one in used),
        "output_tokens": sum(one["completion_tokens"] for one in used),
    }


async def killed_while_planned(gateway):
    """Batches whose planner was killed: the last one after it had written some of the shards and
    before it had committed them, those before it too late for that."""
    batches = []
    while True:
        batches.append(await gateway.submit(chat_lines(PLANNED)))
        work = gateway.data / "files" / work_prefix(batches[-1].id)
        async with asyncio.timeout(60):
            while not any(work.glob("*/*/lines-*")):
                await asyncio.sleep(0.001)
        gateway.platform.kill("planner")
        if (await gateway.client.batches.retrieve(batches[-1].id)).status == "validating":
            return batches
        assert len(batches) < 10, "the planner is killed too late each time"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


async def test_usage_is_that_of_the_answers_that_were_kept(start_gateway):
    gateway = await start_gateway(
        simulator=SLOW, speed_up=10, settings={"planning": {"shard_lines": 15}}
    )
    await gateway.configure(fault_rate=0.1, fault_kinds=["429"])
    batch = await gateway.halfway(await gateway.submit(chat_lines(LINES)), done=LINES // 4)
    gateway.platform.kill("executor")
    killed = await gateway.ended(batch)

    planned = [
        await gateway.ended(each, seconds=240) for each in await killed_while_planned(gateway)
    ]

    async with httpx.AsyncClient(base_url=f"{gateway.platform.base_url}/", timeout=60) as http:
        asked = {
            "requests": same_requests(),
            "deduplicate": True,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        made = (await http.post("batches", json=asked)).json()
        deduplicated = await gateway.ended(await gateway.client.batches.retrieve(made["id"]))
        await gateway.configure(fault_rate=0, ttft_ms=SLOW_CALL_MS)
        slow = await gateway.ended(await gateway.submit(chat_lines(FEW)))
        batches = [killed, *planned, slow, deduplicated]
        outputs = [(await gateway.results(each))[0] for each in batches]
        arrivals = await gateway.arrivals()
        answers = [kept(output, arrivals) for output in outputs]
        analytics = (await http.get(f"batches/{killed.id}/analytics")).json()
        of_slow = (await http.get(f"batches/{slow.id}/analytics")).json()
        for each in batches:
            (await http.delete(f"batches/{each.id}")).raise_for_status()
        usage = (await http.get("usage", params={"start_time": killed.created_at - 86400})).json()

    sizes = [LINES, *(PLANNED for _ in planned), FEW]
    assert [len(output) for output in outputs] == [*sizes, SAME]
    assert [len(some) for some in answers] == [*sizes, 1]
    results = [result for day in usage["data"] for result in day["results"]]
    assert sum(result["completed_requests"] for result in results) == sum(sizes) + SAME
    assert sum(result["failed_requests"] for result in results) == 0
    for name, expected in tokens([one for some in answers for one in some]).items():
        assert sum(result[name] for result in results) == expected, name
    assert_percentiles(analytics["latency"], answers[0])
    assert_percentiles(of_slow["latency"], answers[-2])
    assert_calls_within_a_bucket(of_slow["latency"], answers[-2])
    refused = [one for one in arrivals if one["status"] == 429]
    assert refused
    assert sum(retry["count"] for retry in analytics["retries"]) <= len(refused)


def assert_percentiles(latency, answers):
    """Of first tokens, which the engine reports: within a bucket. A whole call takes longer for its
    client than for the engine."""
    firsts = [round(one["first_token_ms"]) for one in answers]
    calls = [1000 * (one["ended_at"] - one["arrived_at"]) for one in answers]
    assert latency["first_token"]["count"] == latency["call"]["count"] == len(answers)
    for share in (50, 95, 99):
        told, own = latency["first_token"][f"p{share}_ms"], percentile(firsts, share)
        assert own <= told <= own * 1.09 + 1, share
        assert latency["call"][f"p{share}_ms"] >= percentile(calls, share) / 1.01, share


def assert_calls_within_a_bucket(latency, answers):
    """Of whole calls, from both sides: within a bucket.

    A call takes longer for its client than for the engine, by the way there and back. The mean is
    exact, so it tells the sum of these differences, and no single call can have more than that.
    """
    calls = [1000 * (one["ended_at"] - one["arrived_at"]) for one in answers]
    way = latency["call"]["mean_ms"] * len(calls) - sum(calls)
    assert min(calls) >= 0.99 * SLOW_CALL_MS  # the journal's clock may be set while a call runs
    assert way >= -0.01 * sum(calls)
    for share in (50, 95, 99):
        told, own = latency["call"][f"p{share}_ms"], percentile(calls, share)
        assert own / 1.01 <= told <= (own + max(way, 0) + 1) * BUCKET, share
