"""Reports on the terminal when the disk of the data folder is full, and when it has space again."""

import asyncio
import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

LEAST = 16 * 1024 * 1024  # bytes; SQLite, its log and the broker's need some at any moment
_EVERY_S = 2.0


async def watch_disk_space(folder: Path, *, least: int = LEAST, every_s: float = _EVERY_S) -> None:
    """Warn when fewer than ``least`` bytes are free, once each time. Ends by being cancelled."""
    full = False
    while True:
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        if free < least and not full:
            logger.warning(
                "the disk of %s is full (%d MiB are free): uploads are refused and batches wait "
                "until there is room",
                folder,
                free // 2**20,
            )
        elif full and free >= least:
            logger.warning("the disk of %s has space again", folder)
        full = free < least
        await asyncio.sleep(every_s)
