"""DeadLetterRows: events that brokers could not deliver."""

import base64
from collections.abc import Sequence
from datetime import datetime

from batch_gateway.adapters.corrupt_rows import decodable_page
from batch_gateway.adapters.redis_metadata.fields import (
    INSTANT,
    TEXT,
    FieldCodec,
    Row,
    decoded,
    json_type,
    row,
    write,
)
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.dead_letters import DeadLetter

_LETTER = {
    "id": TEXT,
    "attributes": json_type(dict[str, str]),
    "data": FieldCodec(lambda data: base64.b64encode(data).decode(), base64.b64decode),
    "target": TEXT,
    "code": TEXT,
    "reason": TEXT,
    "died_at": INSTANT,
}

_AT_ONCE = 200  # dropped by one script, which blocks the server while it runs


class RedisDeadLetters:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def put(self, letter: DeadLetter) -> None:
        await self._scripts.run("put_dead_letter", letter=write(letter, _LETTER))

    async def get(self, letter: str) -> DeadLetter | None:
        found = await self._scripts.row(self._scripts.keys.dead_letter(letter))
        return _to_letter(found) if found else None

    async def list(self, *, limit: int) -> Sequence[DeadLetter]:
        async def fetch(most: int) -> Sequence[Row]:
            rows = await self._scripts.run("dead_letters", limit=most)
            return [row(fields) for fields in rows]

        return await decodable_page(fetch, _to_letter, limit)

    async def drop(self, letter: str) -> bool:
        return bool(await self._scripts.run("drop_dead_letters", letter=letter))

    async def forget(self, before: datetime, limit: int) -> int:
        return int(await self._scripts.run("drop_dead_letters", before=before, limit=limit))

    async def keep(self, most: int) -> int:
        dropped = 0
        while some := int(await self._scripts.run("drop_dead_letters", most=most, limit=_AT_ONCE)):
            dropped += some
        return dropped


def _to_letter(row: Row) -> DeadLetter:
    """Raises CorruptRow."""
    return decoded("dead letter", DeadLetter, row, _LETTER)
