"""A routing file in the whole system: names, replicas, one of them killed, and a change."""

import signal
import subprocess
import sys

import pytest
from fixtures.gateway import chat_lines

pytestmark = pytest.mark.e2e


def spawn(*models: str) -> tuple[subprocess.Popen[str], str]:
    """A simulator that a test may kill; its process and its URL."""
    named = [word for model in models for word in ("--model", model)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "batch_gateway.simulator", "--port", "0", *named],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split(" at ")[1].split("/v1")[0]


@pytest.fixture
def victim():
    process, url = spawn("real")
    yield process, url
    process.kill()
    process.wait()
    process.stdout.close()


async def test_replicas_serve_a_batch_together_and_one_may_die(
    start_gateway, spawn_simulator, victim, tmp_path
):
    process, doomed = victim
    survivor = spawn_simulator(model="real", ttft_ms=20, slots=8)
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        f"endpoints: {{a: {{url: {survivor}}}, b: {{url: {doomed}}}}}\n"
        "models: {shown: {replicas: [{endpoint: a, served_as: real},"
        " {endpoint: b, served_as: real}]}}\n"
        "aliases: {nick: shown}\n"
    )
    gateway = await start_gateway(
        inference_url=survivor, settings={"inference": {"routes": str(routes)}}
    )
    models = [model.id async for model in gateway.client.models.list()]
    batch = await gateway.submit(chat_lines(400, model="nick"))
    await gateway.halfway(batch, done=50)

    process.send_signal(signal.SIGKILL)
    batch = await gateway.ended(batch)

    assert models == ["shown", "nick"]
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (400, 0)
    served = await gateway.arrivals()
    assert 100 < len(served) <= 450

    routes.write_text(routes.read_text().replace("aliases: {nick: shown}", "aliases: {new: shown}"))
    async for _ in gateway.client.models.list():
        pass
    refused = await gateway.ended(await gateway.submit(chat_lines(1, model="new")))
    assert refused.status == "completed"
