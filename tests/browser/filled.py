"""Fills the folder of a service that is to start: 10,000 batches of one tenant, one of them with
50,000 results, stored as the service itself stores them.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
from benchmarks.stored_batches import finished_batches, store_finished

from batch_gateway.adapters.sql import open_sql
from batch_gateway.cli.metadata_settings import settings_of
from batch_gateway.core.ids import result_id
from batch_gateway.core.model import LineCounts
from batch_gateway.wiring.stores import open_files

TENANT = "tenant-0"
BATCHES, RESULTS = 10_000, 50_000
NAME = "the long one"


def fill(data: Path) -> None:
    """Make the database and the file store in the new folder ``data``."""
    data.mkdir(mode=0o700)
    (data / "files").mkdir(mode=0o700)
    asyncio.run(_fill(data))


async def _fill(data: Path) -> None:
    url = f"sqlite+aiosqlite:///{data}/metadata.db"
    await (await open_sql(url, pool_size=1, migrate=True)).close()
    *others, (batch, file) = finished_batches(BATCHES, tenants=1)
    lines = b"".join(_line(result_id(batch.id, number), number) for number in range(RESULTS))
    batch = replace(
        batch, counts=LineCounts(total=RESULTS, completed=RESULTS), metadata={"name": NAME}
    )
    file = replace(file, size=len(lines), lines=RESULTS)
    files = open_files(settings_of(data))
    await files.put(file.key, lines)
    await files.close()
    await store_finished(url, [*others, (batch, file)])


def _line(id_: str, number: int) -> bytes:
    content = f"Answer {number} {'lorem ipsum ' * 20}"
    choice = {"index": 0, "message": {"role": "assistant", "content": content}}
    body = {"object": "chat.completion", "choices": [choice]}
    response = {"status_code": 200, "request_id": f"req_{number}", "body": body}
    name = f"request-{number}"
    line = {"id": id_, "custom_id": name, "response": response, "error": None}
    return msgspec.json.encode(line) + b"\n"
