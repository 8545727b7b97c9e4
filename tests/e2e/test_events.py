"""Events in and out on one machine: the example of docs/events.md."""

import re
import textwrap
from pathlib import Path

import httpx
import pytest
import yaml
from fixtures.gateway import CHAT, chat_lines
from fixtures.redis import free_port

pytestmark = pytest.mark.e2e

DOCS = (Path(__file__).parents[2] / "docs/events.md").read_text()
SOURCE, KEY = "/erp", "a long random key"


def recipe(language: str) -> str:
    found = re.search(rf"<!-- {language} -->\n```{language}\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found.group(1)


def documented_trigger() -> dict:
    found = re.search(r"^ *```yaml\n *# heard.yaml\n(.*?)```", DOCS, re.DOTALL | re.MULTILINE)
    assert found is not None
    return yaml.safe_load(textwrap.dedent(found.group(1)))


async def test_a_batch_is_asked_for_and_its_end_is_heard_by_plain_http(
    start_gateway, start_receiver, tmp_path
):
    receiver = await start_receiver(statuses=[204])
    trigger = documented_trigger()
    trigger["spec"]["subscriber"]["uri"] = receiver.url
    path = tmp_path / "heard.yaml"
    path.write_text(yaml.safe_dump(trigger))
    port = free_port()
    gateway = await start_gateway(
        settings={
            "intake": {"sources": {SOURCE: {"tenant": "default", "keys": [KEY]}}},
            "sweep": {},  # the defaults: each event is sent once
        },
        broker_port=port,
        triggers=[path],
    )
    scope: dict = {}
    exec(recipe("python"), scope)
    requests = [
        {key: line[key] for key in ("custom_id", "method", "url", "body")} for line in chat_lines(3)
    ]
    data = {"endpoint": CHAT, "completion_window": "24h", "requests": requests}
    headers, body = scope["requested"](KEY, SOURCE, data)

    url = f"http://127.0.0.1:{port}/batch-gateway/batch-gateway"
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, headers=headers, content=body)
    await receiver.until_heard(1, seconds=180)

    assert (answer.status_code, gateway.platform.broker_url) == (202, url)
    heard, _ = receiver.heard[0]
    assert heard["ce-type"] == "dev.batchgateway.batch.completed.v1"
    [batch] = (await gateway.client.batches.list()).data
    assert heard["ce-subject"] == batch.id
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)
