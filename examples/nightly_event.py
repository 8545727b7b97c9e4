"""A nightly job by CloudEvent: asks for a batch on the broker, and waits for its end.

    python examples/nightly_event.py BROKER_URL SOURCE KEY

SOURCE and KEY are those of BATCH_GATEWAY_INTAKE__SOURCES (docs/events.md). The job's event has the
day in its id, so a second one on the same day makes no second batch. BATCH_GATEWAY_URL names the
API, which the job asks for the results.
"""

import hashlib
import hmac
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from openai import OpenAI

from batch_gateway.client import BatchClient, chat
from batch_gateway.client.base import sdk_options

TYPE = "dev.batchgateway.batch.requested.v1"


def event(key: str, source: str, name: str, data: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a signed CloudEvent."""
    body = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = b"".join(
        b"%d:%b" % (len(field), field)
        for field in (*map(str.encode, (name, source, TYPE, "", at)), body)
    )
    headers = {
        "ce-specversion": "1.0",
        "ce-id": name,
        "ce-source": source,
        "ce-type": TYPE,
        "ce-time": at,
        "ce-gwsignature": hmac.new(key.encode(), said, hashlib.sha256).hexdigest(),
        "content-type": "application/json",
    }
    return headers, body


def job(day: str) -> dict[str, Any]:
    """What is asked for: the body of ``POST /v1/batches``."""
    requests = [
        chat("sim-large", f"Summarize ticket {n}.", custom_id=f"ticket-{n}", max_tokens=32)
        for n in range(20)
    ]
    return {
        "requests": [json.loads(request.line(0)[1]) for request in requests],
        "endpoint": "/v1/chat/completions",
        "completion_window": "8h",
        "metadata": {"job": "nightly", "day": day},
    }


def made(client: OpenAI, day: str) -> Iterator[str]:
    """The batches of the job on that day."""
    query = {"params": {"metadata[job]": "nightly", "metadata[day]": day}}
    for batch in client.get("/batches", cast_to=httpx.Response, options=query).json()["data"]:
        yield batch["id"]


def main(broker: str, source: str, key: str) -> None:
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    headers, body = event(key, source, f"nightly-{day}", job(day))
    httpx.post(broker, headers=headers, content=body).raise_for_status()
    with OpenAI(**sdk_options()) as client:
        until = time.monotonic() + 120
        while (batch := next(made(client, day), None)) is None:
            if time.monotonic() > until:
                raise SystemExit("no batch was made: is the source known, and its key right?")
            time.sleep(0.5)
        batches = BatchClient(client)
        ended = batches.wait(batch)
        answers = sum(result.ok for result in batches.results(batch))
    print(f"{ended.id} is {ended.status}: {answers} answers")


if __name__ == "__main__":
    main(*sys.argv[1:4])
