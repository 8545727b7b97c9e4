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

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

LINES, SAME = 120, 10
SLOW = {"ttft_ms": 40, "slots": 16}


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


async def process_of(gateway, service):
    async with asyncio.timeout(60):
        while not gateway.platform.pids(service):
            await asyncio.sleep(0.005)


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

    planned = await gateway.submit(chat_lines(LINES // 4))
    await process_of(gateway, "planner")
    gateway.platform.kill("planner")
    planned = await gateway.ended(planned)

    async with httpx.AsyncClient(base_url=f"{gateway.platform.base_url}/", timeout=60) as http:
        asked = {
            "requests": same_requests(),
            "deduplicate": True,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        made = (await http.post("batches", json=asked)).json()
        deduplicated = await gateway.ended(await gateway.client.batches.retrieve(made["id"]))
        batches = [killed, planned, deduplicated]
        outputs = [(await gateway.results(each))[0] for each in batches]
        arrivals = await gateway.arrivals()
        answers = [kept(output, arrivals) for output in outputs]
        analytics = (await http.get(f"batches/{killed.id}/analytics")).json()
        for each in batches:
            (await http.delete(f"batches/{each.id}")).raise_for_status()
        usage = (await http.get("usage", params={"start_time": killed.created_at - 86400})).json()

    assert [len(output) for output in outputs] == [LINES, LINES // 4, SAME]
    assert [len(some) for some in answers] == [LINES, LINES // 4, 1]
    results = [result for day in usage["data"] for result in day["results"]]
    assert sum(result["completed_requests"] for result in results) == LINES + LINES // 4 + SAME
    assert sum(result["failed_requests"] for result in results) == 0
    for name, expected in tokens([one for some in answers for one in some]).items():
        assert sum(result[name] for result in results) == expected, name
    assert_percentiles(analytics["latency"], answers[0])
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
