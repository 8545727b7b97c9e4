"""The server with a real process: signals, lifespan, open requests."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

FUNCTIONS = Path(__file__).parent / "functions"
SERVE = (sys.executable, "-m", "batch_gateway.web.serve")
STOCK = (str(Path(sys.executable).with_name("functions-framework")), "--asgi")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def serving(*command):
    """The toy function under ``command``: (process, client)."""
    port = free_port()
    environment = {
        **os.environ,
        "FUNCTION_SOURCE": str(FUNCTIONS / "toy" / "main.py"),
        "FUNCTION_TARGET": "toy",
        "PORT": str(port),
        "HOST": "127.0.0.1",
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        try:
            await answering(http)
            yield process, http
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(45):
                    await process.communicate()
            except TimeoutError:  # a test left a request open
                process.kill()


async def answering(http):
    async with asyncio.timeout(90):
        while True:
            try:
                assert (await http.get("/healthz")).status_code == 200
                return
            except httpx.TransportError:
                await asyncio.sleep(0.01)


async def connects(url: httpx.URL) -> bool:
    async with httpx.AsyncClient(base_url=url) as other:
        try:
            await other.get("/healthz")
        except httpx.TransportError:  # refused, or still taken by the kernel and then dropped
            return False
        return True


class Work:
    """One event that stays open until it is released."""

    def __init__(self, folder: Path) -> None:
        self.stages, self._release = folder / "stages", folder / "release"

    def event(self, until: str) -> dict:
        return {
            "specversion": "1.0",
            "id": "1",
            "source": "/batch-gateway",
            "type": "dev.batchgateway.work.available.v1",
            "data": {
                "stages": str(self.stages),
                "release": str(self._release),
                "until": until,
            },
        }

    async def post(self, http, until="release"):
        headers = {"content-type": "application/cloudevents+json"}
        return await http.post("/", json=self.event(until), headers=headers)

    def release(self) -> None:
        self._release.touch()

    async def reached(self, stage: str) -> None:
        async with asyncio.timeout(90):
            # Written by another process, so there is no event to wait for.
            while not (self.stages.exists() and self.stages.read_text() == stage):
                await asyncio.sleep(0.01)


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path)


async def test_resources_are_opened_before_and_closed_after_serving():
    async with serving(*SERVE) as (process, _):
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()

    assert (process.returncode, output.split()) == (0, [b"opened", b"closed"])


async def test_an_open_request_hears_of_sigterm_at_once_and_is_answered(work):
    async with serving(*SERVE) as (process, http), asyncio.TaskGroup() as tasks:
        request = tasks.create_task(work.post(http, until="stopping"))
        await work.reached("started")

        process.send_signal(signal.SIGTERM)
        await work.reached("stopping")
        assert not request.done()
        work.release()
        answer = await request
        await process.wait()

    assert (answer.status_code, process.returncode) == (202, 0)


async def test_further_sigterms_do_not_kill_an_open_request(work):
    async with serving(*SERVE) as (process, http), asyncio.TaskGroup() as tasks:
        request = tasks.create_task(work.post(http, until="stopping"))
        await work.reached("started")
        process.send_signal(signal.SIGTERM)
        await work.reached("stopping")

        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)  # longer than the server's tick: it has seen them all
        work.release()
        answer = await request
        await process.wait()

    assert (answer.status_code, process.returncode) == (202, 0)


async def test_no_new_connection_is_taken_once_stopping(work):
    async with serving(*SERVE) as (process, http), asyncio.TaskGroup() as tasks:
        tasks.create_task(work.post(http, until="stopping"))
        await work.reached("started")
        process.send_signal(signal.SIGTERM)
        await work.reached("stopping")

        async with asyncio.timeout(45):
            while await connects(http.base_url):
                await asyncio.sleep(0.01)
        work.release()


async def test_the_stock_command_serves_a_function_too(work):
    work.release()
    async with serving(*STOCK) as (_, http):
        answer = await work.post(http)

    assert (answer.status_code, work.stages.read_text()) == (202, "ended")
