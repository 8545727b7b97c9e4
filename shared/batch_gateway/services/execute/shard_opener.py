"""Opens a leased shard: reads its lines and earlier results, and waits for what is missing.

A shard whose requests are lost for good is closed: its lines without a result end as error lines
with the code ``result_lost``, and all results that it has are kept. A recorded part that is lost is
left out, and its lines run again.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from batch_gateway import meters
from batch_gateway.core.errors import Corrupt, Temporary, Unavailable
from batch_gateway.core.lines import ShardLine, decode_shard_line, not_answered
from batch_gateway.core.model import Lease
from batch_gateway.core.tracing import trace_id
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.services.execute.leased_shard import LeasedShard
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.results import lost_objects
from batch_gateway.services.results.parts import (
    ShardResults,
    read_blob,
    read_recorded,
    read_surviving,
    write_part,
)

logger = logging.getLogger(__name__)

_TRIES = 3  # to read a shard's objects
_FIRST_PAUSE_S = 0.3  # between two of them; doubles


class ShardLoader:
    def __init__(
        self,
        *,
        files: FileStore,
        coordination: CoordinationStore,
        header_passthrough: HeaderPassthrough | None,
        close_unreadable: Callable[[LeasedShard, ShardResults], Awaitable[None]],
    ) -> None:
        """``header_passthrough`` None: no batch has sealed headers. ``close_unreadable`` closes a
        shard whose requests are lost, with the results that it has."""
        self._files = files
        self._header_passthrough = header_passthrough
        self._lost_objects = lost_objects.LostObjectDetector(coordination)
        self._close_unreadable = close_unreadable

    async def open(self, shard: LeasedShard) -> bool:
        """Read the shard's lines and earlier results; False: it was closed as unreadable.

        Tries some times. What is missing or damaged is waited for until it counts as lost for good
        (``results.losses``). Raises Temporary while a store or a key is unavailable, or when the
        shard must be given up before that: it is untouched then.
        """
        tries = 0
        while True:
            try:
                await self._read(shard)
                return True
            except (Temporary, MemoryError) as error:
                tries += 1
                if tries == _TRIES:
                    raise Unavailable(f"{shard.lease.shard.id} cannot be read: {error}") from error
                pause = _FIRST_PAUSE_S * 2 ** (tries - 1)
            except Exception as error:  # also what was not foreseen: bounded tries, then an end
                shard.stuck = True
                logger.exception(
                    "%s cannot be read",
                    shard.lease.shard.id,
                    extra={"action": "open", **log(shard)},
                )
                if await self._lost_objects.is_final(f"open/{shard.lease.shard.id}"):
                    return await self._open_surviving(shard, error)
                pause = lost_objects.APART.total_seconds()
            if await shard.settles_within(pause):
                raise Unavailable(f"{shard.lease.shard.id} is given up before it could be read")

    async def _read(self, shard: LeasedShard) -> None:
        passed, lines = self._passed(shard.lease), await self._lines(shard)
        done = await read_recorded(self._files, shard.lease.shard.parts, keep=False)
        self._load(shard, lines, done, passed)

    async def _lines(self, shard: LeasedShard) -> list[ShardLine]:
        content = await read_blob(self._files, shard.lease.shard.key)
        try:
            return [decode_shard_line(raw) for raw in content.splitlines()]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"{shard.lease.shard.key} is damaged: {error}") from error

    def _load(
        self,
        shard: LeasedShard,
        lines: Sequence[ShardLine],
        done: ShardResults,
        passed: Mapping[str, str],
    ) -> None:
        shard.load(lines, done, passed=passed)
        for line in shard.take_poison():
            self._write_off(shard, line)
        shard.stuck = False
        logger.info(
            "Leased %s: %d of %d lines to do",
            shard.lease.shard.id,
            shard.left,
            shard.lease.shard.lines,
            extra={"action": "leased", **log(shard)},
        )

    async def _open_surviving(self, shard: LeasedShard, error: Exception) -> bool:
        """Open what is left of a shard of which something is lost for good.

        Lines of lost results run again. False: its requests are lost, so it was closed; assembly
        makes its error lines.
        """
        row = shard.lease.shard
        done, lost = await read_surviving(self._files, row.parts)
        if lost:
            meters.PARTS_LOST.inc(lost)
            kept = list(done.lines.values())
            shard.results.parts = [await write_part(self._files, row, 0, kept)] if kept else []
            shard.results.sequence += 1
        try:
            lines = await self._lines(shard)
        except Temporary:
            raise
        except Exception:
            logger.exception(
                "%s is closed: its requests cannot be read (%s)",
                row.id,
                error,
                extra={"action": "unreadable", **log(shard)},
            )
            await self._close_unreadable(shard, done)
            return False
        self._load(shard, lines, done, self._passed(shard.lease))
        return True

    def _write_off(self, shard: LeasedShard, line: ShardLine) -> None:
        """End a line that crashed each worker that ran it."""
        logger.error(
            "Line %d of %s has crashed its workers and is not tried again",
            line.line,
            shard.lease.shard.batch,
            extra={"action": "poison", "line": line.line, **log(shard)},
        )
        result = not_answered(
            shard.lease.shard.batch,
            line.line,
            line.custom_id,
            code="worker_crashed",
            message="Three workers died while they ran this request, the last one while it ran"
            " no other.",
        )
        shard.write_off(result)

    def _passed(self, lease: Lease) -> Mapping[str, str]:
        """Headers that calls carry on. Raises Unavailable while they cannot be opened."""
        if lease.sealed is None:
            return {}
        if self._header_passthrough is None:
            raise Unavailable("a batch has sealed headers, but inference.header_keys is empty")
        return self._header_passthrough.open(lease)


def log(shard: LeasedShard) -> dict[str, str | None]:
    """What log lines about ``shard`` carry."""
    lease = shard.lease
    return {
        "batch_id": lease.shard.batch,
        "shard_id": lease.shard.id,
        "tenant_id": lease.tenant,
        "trace_id": trace_id(lease.traceparent),
    }
