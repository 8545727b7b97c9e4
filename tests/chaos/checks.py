"""What must be true of the stores and processes once all batches have ended.

Most of it becomes true after a moment (leases run out, the janitor comes), so each check is asked
again until it holds or its time is over.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import FileId, TenantId
from batch_gateway.core.layout import FILES, ORDERS, UPLOADS, WORK
from batch_gateway.core.model import OPEN
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.maintenance.orphans import delete_orphans
from batch_gateway.services.verify.verifier import StorageConsistencyVerifier
from batch_gateway.wiring.stores import open_files, open_metadata, open_scratch_server
from chaos.patience import Patience
from chaos.schedule import TENANTS
from chaos.world import World

Check = Callable[[], Awaitable[list[str]]]

_WITHIN_S = 100.0  # the janitor comes by itself once in a while only


async def leaks(world: World) -> list[str]:
    """Slots, leases, events, rows, objects and uploads that nothing needs any more."""
    async with AsyncExitStack() as stack:
        metadata = await open_metadata(world.settings)
        stack.push_async_callback(metadata.close)
        scratch = open_scratch_server(world.settings)
        stack.push_async_callback(scratch.close)
        files = open_files(world.settings)
        stack.push_async_callback(files.close)
        found: list[str] = []
        for check in (
            lambda: _rows(metadata),
            lambda: _slots(scratch),
            lambda: _accounts(metadata),
            lambda: _work(files),
        ):
            found += await _eventually(check)
        found += await _eventually(lambda: _objects(world, metadata, files))
        found += await _eventually(lambda: _verified(metadata, files))
        return found


async def _eventually(check: Check) -> list[str]:
    """The problems that are still there when the time is over."""
    patience = Patience(_WITHIN_S)
    while True:
        try:
            found = await check()
        except Temporary as error:
            found = [f"cannot look: {error}"]
        if not found or patience.over:
            return found
        await asyncio.sleep(0.5)


async def _rows(metadata: MetadataStore) -> list[str]:
    later = datetime.now(UTC) + timedelta(days=1)
    found = []
    if leased := await metadata.shards.leased(limit=10):
        found.append(f"{len(leased)} shards are leased in the database")
    if unsent := await metadata.outbox.unsent(before=later, limit=10):
        found.append(f"{len(unsent)} events wait in the outbox, first {unsent[0].event.type}")
    if left := await metadata.batches.unfinished(OPEN, before=later, limit=10):
        found.append(f"{len(left)} batches are open, first {left[0].id} {left[0].status}")
    return found


async def _slots(scratch: CoordinationStore) -> list[str]:
    found = [
        f"pool {pool.pool}: {pool.in_use} slots in use, {pool.granted} granted"
        for pool in await scratch.slots.pools()
        if pool.in_use or pool.granted
    ]
    depth = await scratch.queue.depth()
    if depth.ready or depth.leased or depth.reserved:
        found.append(f"the queue holds {depth}")
    if any(count := await scratch.activations.count()):
        found.append(f"activations running and pending: {count}")
    return found


async def _accounts(metadata: MetadataStore) -> list[str]:
    return [
        f"the account of {tenant} was wrong"
        for tenant in TENANTS
        if await metadata.accounts.recount(TenantId(tenant))
    ]


async def _work(files: FileStore) -> list[str]:
    left = [blob.key async for blob in files.list(WORK)]
    return [f"{len(left)} objects of ended batches are left, first {left[0]}"] if left else []


async def _objects(world: World, metadata: MetadataStore, files: FileStore) -> list[str]:
    """What a sweep of old leftovers would leave, were all of this old."""
    later = datetime.now(UTC) + timedelta(hours=2)
    await files.sweep(later)
    await delete_orphans(metadata, files, later)
    found = []
    for prefix in (FILES, ORDERS):
        names = [FileId(blob.key.removeprefix(prefix)) async for blob in files.list(prefix)]
        if unknown := set(names) - set(await metadata.files.existing(names)):
            found.append(f"{len(unknown)} objects under {prefix} have no row")
    if left := [blob.key async for blob in files.list(UPLOADS)]:
        found.append(f"{len(left)} parts of uploads are left")
    s3 = world.stores.s3
    if s3 is not None:
        uploads = s3.client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
        if uploads:
            found.append(f"{len(uploads)} multipart uploads are open")
    else:
        unfinished = world.data / "files" / ".unfinished"
        if unfinished.exists() and (shard_builder := [*unfinished.iterdir()]):
            found.append(f"{len(shard_builder)} temporary files are left")
    if copies := [*(world.data / "scratch").iterdir()]:
        found.append(f"{len(copies)} files are left in the scratch folder, first {copies[0].name}")
    return found


async def _verified(metadata: MetadataStore, files: FileStore) -> list[str]:
    """What ``batch-gateway verify`` finds: rows against objects, checksums, orphans."""
    return [
        f"verify: {finding.problem.value} {finding.kind} {finding.key}: {finding.detail}"
        async for finding in StorageConsistencyVerifier(metadata, files).findings()
    ]


def descendants() -> dict[int, str]:
    """All processes below this one, by pid: when they were started."""
    parents: dict[int, int] = {}
    started: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] != "Z":
                    parents[int(entry.name)], started[int(entry.name)] = int(fields[1]), fields[19]
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: started[pid] for pid in found - {os.getpid()}}


def survivors(before: dict[int, str]) -> list[str]:
    """Those of ``before`` that still run."""
    found = []
    for pid, start in before.items():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            if fields[19] == start and fields[0] != "Z":
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"process {pid} outlives the platform: {command[:120]}")
    return found
