"""Fills a database with very many batches at once, as if they had come through the API."""

import secrets
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from batch_gateway.adapters.sql.rows import batch_columns, file_columns, shard_columns
from batch_gateway.adapters.sql.schema import accounts, batches, files, shards
from batch_gateway.core.ids import FileId, TenantId, batch_id, file_id
from batch_gateway.core.layout import file_key
from batch_gateway.core.model import Batch, BatchStatus, File, LineCounts, Shard
from batch_gateway.core.quotas import QuotaUsage
from benchmarks.stage import CHAT

LINES = 500  # of a shard
_AT_ONCE = 2000  # rows of one statement


def open_batches(
    count: int, *, tenants: int, shards_each: int
) -> Iterator[tuple[Batch, list[Shard]]]:
    """Running batches of ``tenants`` in turn, none of whose lines has been sent."""
    now = datetime.now(UTC)
    for number in range(count):
        batch = Batch(
            id=batch_id(secrets.token_bytes(16)),
            tenant=TenantId(f"tenant-{number % tenants}"),
            status=BatchStatus.IN_PROGRESS,
            endpoint=CHAT,
            input_file_id=FileId("file-none"),
            completion_window="24h",
            deadline=now + timedelta(days=1, seconds=number),
            created_at=now,
            in_progress_at=now,
            model="m",
            open_shards=shards_each,
            counts=LineCounts(total=LINES * shards_each),
        )
        yield (
            batch,
            [
                Shard(
                    batch=batch.id,
                    index=index,
                    model="m",
                    key=f"work/{batch.id}/{index}",
                    lines=LINES,
                    cost=100 * LINES,
                )
                for index in range(shards_each)
            ],
        )


def finished_batches(count: int, *, tenants: int) -> Iterator[tuple[Batch, File]]:
    """Completed batches with their output files; every second one is the first tenant's."""
    began = datetime.now(UTC) - timedelta(days=1)
    for number in range(count):
        at = began + timedelta(seconds=86_000 * number / count)
        tenant = TenantId(f"tenant-{0 if number % 2 else number // 2 % tenants}")
        output = file_id(secrets.token_bytes(12))
        batch = Batch(
            id=batch_id(secrets.token_bytes(16)),
            tenant=tenant,
            status=BatchStatus.COMPLETED,
            endpoint=CHAT,
            input_file_id=FileId("file-none"),
            completion_window="24h",
            deadline=at + timedelta(days=1),
            created_at=at,
            in_progress_at=at,
            finalizing_at=at,
            completed_at=at,
            model="m",
            counts=LineCounts(total=LINES, completed=LINES),
            output_file_id=output,
            metadata={"number": str(number % 100)},
        )
        yield (
            batch,
            File(
                id=output,
                tenant=tenant,
                purpose="batch_output",
                filename="output.jsonl",
                size=1000 * LINES,
                lines=LINES,
                sha256="",
                key=file_key(output),
                created_at=at,
                expires_at=None,
            ),
        )


async def store_open(url: str, made: list[tuple[Batch, list[Shard]]]) -> None:
    of_tenants: dict[str, QuotaUsage] = {}
    for batch, _ in made:
        _add(of_tenants, batch, QuotaUsage(open_batches=1, queued_requests=batch.counts.total))
    await _insert(url, batches, [batch_columns(batch) for batch, _ in made])
    await _insert(url, shards, [shard_columns(shard) for _, of in made for shard in of])
    await _finish(url, of_tenants)


async def store_finished(url: str, made: list[tuple[Batch, File]]) -> None:
    of_tenants: dict[str, QuotaUsage] = {}
    for batch, file in made:
        _add(of_tenants, batch, QuotaUsage(files=1, stored_bytes=file.size))
    rows = [{**batch_columns(batch), "unswept": False} for batch, _ in made]
    await _insert(url, batches, rows)
    await _insert(url, files, [file_columns(file) for _, file in made])
    await _finish(url, of_tenants)


def _add(of_tenants: dict[str, QuotaUsage], batch: Batch, more: QuotaUsage) -> None:
    had = asdict(of_tenants.get(batch.tenant, QuotaUsage()))
    total = {name: had[name] + count for name, count in asdict(more).items()}
    of_tenants[batch.tenant] = QuotaUsage(**total)


async def _insert(url: str, table: sa.Table, rows: list[dict[str, object]]) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for start in range(0, len(rows), _AT_ONCE):
            await connection.execute(sa.insert(table), rows[start : start + _AT_ONCE])
    await engine.dispose()


async def _finish(url: str, of_tenants: dict[str, QuotaUsage]) -> None:
    """Store what each tenant has, and let the database count its rows."""
    rows: list[dict[str, object]] = [
        {"tenant": tenant, **asdict(account)} for tenant, account in of_tenants.items()
    ]
    await _insert(url, accounts, rows)
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("ANALYZE"))
    await engine.dispose()
