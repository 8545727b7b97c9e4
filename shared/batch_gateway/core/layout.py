"""The keys of all objects in the FileStore. They consist of ids, never of client input.

    files/FILE                                        uploads and results
    orders/FILE                                       in which order the results in FILE came about
    uploads/UPLOAD/PART                               parts of an upload that is not complete
    work/BATCH/ATTEMPT/SHARD/lines-SHA.jsonl          request lines of one shard
    work/BATCH/ATTEMPT/SHARD/parts/EPOCH-TOKEN/SEQ-LINES-SHA.jsonl   result lines of that shard
    work/BATCH/runs/ENDING/FIRST-END-LINES-NOTRUN-ORDER-SHA          results of several shards

ATTEMPT is new for each planning, EPOCH and TOKEN for each lease, so nothing is ever overwritten and
a late writer can only create objects that are never read. A part's key holds the number of its
lines and the beginning of its sha256: the key alone is enough to verify it, and so does the key of
a shard's request lines (earlier releases wrote ``lines.jsonl``). A run's key describes its
content in the same way; two assemblers that make the same run write the same bytes.
"""

import hashlib
import re
from dataclasses import dataclass

from batch_gateway.core.ids import BatchId, FileId, PartId, UploadId
from batch_gateway.core.model import EndReason, LeaseRef, ResultPart, Shard

FILES, ORDERS, UPLOADS, WORK = "files/", "orders/", "uploads/", "work/"

_DIGEST = 16  # hex digits of the sha256 in a key
_IS_DIGEST = re.compile(f"[0-9a-f]{{{_DIGEST}}}").fullmatch


def file_key(file: FileId) -> str:
    return f"{FILES}{file}"


def order_key(file: FileId) -> str:
    """Of the completion order that is kept with a result file."""
    return f"{ORDERS}{file}"


def blobs_of(*files: FileId) -> list[str]:
    """The keys of everything that may be kept for files: themselves, and the order of results."""
    return [key for file in files for key in (file_key(file), order_key(file))]


def upload_prefix(upload: UploadId) -> str:
    return f"{UPLOADS}{upload}/"


def upload_part_key(upload: UploadId, part: PartId) -> str:
    return f"{upload_prefix(upload)}{part}"


def work_prefix(batch: BatchId) -> str:
    return f"{WORK}{batch}/"


def attempt_prefix(batch: BatchId, attempt: str) -> str:
    return f"{work_prefix(batch)}{attempt}/"


def shard_key(batch: BatchId, attempt: str, index: int, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
    return f"{attempt_prefix(batch, attempt)}{index:06d}/lines-{digest}.jsonl"


def digest_in(key: str) -> str | None:
    """The beginning of the content's sha256, in hex, that a key under ``work/`` ends with."""
    digest = key.rpartition("/")[2].removesuffix(".jsonl").rpartition("-")[2]
    return digest if _IS_DIGEST(digest) else None


def parts_prefix(shard: Shard) -> str:
    """Under which all parts of all leases of ``shard`` are."""
    return f"{shard.key.rpartition('/')[0]}/parts/"


def lease_prefix(shard: Shard) -> str:
    """Under which the parts of the present lease of ``shard`` are."""
    return f"{parts_prefix(shard)}{shard.epoch:06d}-{shard.token}/"


def part_key(shard: Shard, sequence: int, content: bytes, lines: int) -> str:
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
    return f"{lease_prefix(shard)}{sequence:06d}-{lines}-{digest}.jsonl"


def part_of_key(key: str) -> tuple[int, ResultPart] | None:
    """The epoch and the part that ``key`` names; None when it does not name one."""
    folder, _, name = key.rpartition("/")
    epoch, _, _ = folder.rpartition("/")[2].partition("-")
    fields = name.removesuffix(".jsonl").split("-")
    if len(fields) != 3 or not epoch.isdecimal() or not fields[1].isdecimal():
        return None
    return int(epoch), ResultPart(key=key, lines=int(fields[1]))


def verifies(part: ResultPart, content: bytes) -> bool:
    """Whether ``content`` agrees with the part's key."""
    digest = part.key.rpartition("-")[2].removesuffix(".jsonl")
    return (
        hashlib.sha256(content).hexdigest()[:_DIGEST] == digest
        and content.count(b"\n") == part.lines
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedRun:
    """The results of consecutive shards, sorted by line number, as an assembler keeps them."""

    first: int  # index of its first shard
    end: int  # index after that of its last shard
    lines: int
    not_run: int  # of those lines, the ones that were never run
    order: int  # bytes in front of the lines: their completion order


def runs_prefix(batch: BatchId, ending: EndReason | None) -> str:
    """Under which runs are: each ending has its own, because lines that were not run say why."""
    return f"{work_prefix(batch)}runs/{ending or 'none'}/"


def run_key(batch: BatchId, ending: EndReason | None, run: SortedRun, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
    return (
        f"{runs_prefix(batch, ending)}"
        f"{run.first:06d}-{run.end:06d}-{run.lines}-{run.not_run}-{run.order}-{digest}"
    )


def run_of_key(key: str) -> SortedRun | None:
    """The run that ``key`` names; None when it does not name one."""
    *numbers, _ = key.rpartition("/")[2].split("-")
    if len(numbers) != 5 or not all(number.isdecimal() for number in numbers):
        return None
    first, end, lines, not_run, order = map(int, numbers)
    return SortedRun(first=first, end=end, lines=lines, not_run=not_run, order=order)


def is_run(key: str, content: bytes) -> bool:
    """Whether ``content`` agrees with the run's key."""
    return hashlib.sha256(content).hexdigest()[:_DIGEST] == key.rpartition("-")[2]


def lease_ref(shard: Shard) -> LeaseRef:
    return LeaseRef(shard=shard.id, epoch=shard.epoch, token=shard.token)
