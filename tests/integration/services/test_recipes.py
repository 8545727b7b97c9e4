"""The recipes of docs/events.md, run as they are written."""

import asyncio
import os
import re
from pathlib import Path

import pytest
import uvicorn
from fixtures.gateway import CHAT
from fixtures.world import chat_lines

DOCS = (Path(__file__).parents[3] / "docs" / "events.md").read_text()


def recipe(language: str) -> str:
    found = re.search(rf"<!-- {language} -->\n```\w+\n(.*?)```", DOCS, re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture
async def served(door):
    """Intake on a port, for what only speaks to ports."""
    app = door.http._transport.app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    listener = server.config.bind_socket()
    task = asyncio.create_task(server.serve([listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    await task


async def test_the_recipe_in_python_signs_what_intake_takes(door):
    names = {}
    exec(recipe("python"), names)
    data = {"requests": chat_lines(1), "endpoint": CHAT, "completion_window": "24h"}
    headers, body = names["requested"]("the key of their system", "/them", data, "a subject")

    answer = await door.http.post("/", headers=headers, content=body)

    assert answer.status_code == 202
    assert len(await door.batches()) == 1


async def test_the_recipe_in_the_shell_signs_what_intake_takes(door, world, served):
    file = await world.upload(b'{"custom_id": "1"}\n')
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-euc",
        recipe("shell"),
        env={
            **os.environ,
            "FILE": file.id,
            "SOURCE": "/them",
            "KEY": "the key of their system",
            "BROKER": served,
        },
    )

    assert await process.wait() == 0
    [batch] = await door.batches()
    assert batch.input_file_id == file.id
