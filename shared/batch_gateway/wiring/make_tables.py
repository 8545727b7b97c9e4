"""``python -m batch_gateway.wiring.make_tables``: brings the metadata store's schema up to date."""

import asyncio

from batch_gateway.settings import Settings
from batch_gateway.wiring.stores import migrate_metadata

if __name__ == "__main__":
    asyncio.run(migrate_metadata(Settings()))
