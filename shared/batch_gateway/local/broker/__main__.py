"""``python -m batch_gateway.local.broker CONFIG``: the broker's process.

Ends on SIGTERM at once: what is being delivered stays pending and is delivered again next time.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from batch_gateway.local.broker.config import BrokerProcessConfig
from batch_gateway.local.broker.delivery import TriggerDispatcher
from batch_gateway.local.broker.ingress import application
from batch_gateway.local.broker.routing import TriggerRouter, stream_name
from batch_gateway.local.broker.streams import EventStreams, connect
from batch_gateway.local.durations import TimeScale

logger = logging.getLogger(__name__)


async def serve(config: BrokerProcessConfig) -> None:
    """Take events in and deliver them until SIGTERM."""
    durations, random = TimeScale(speed_up=config.speed_up), Random()
    connector = aiohttp.TCPConnector(limit=0)  # each Trigger has its own limit
    async with (
        connect(config.redis_url) as redis,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        streams = EventStreams(redis)
        routers = {broker.path: TriggerRouter(broker, streams, random) for broker in config.brokers}
        deliveries = [
            TriggerDispatcher(
                trigger,
                stream_name(broker, trigger.name),
                streams=streams,
                router=routers[broker.path],
                session=http,
                durations=durations,
            )
            for broker in config.brokers
            for trigger in broker.triggers
        ]
        names = [stream_name(broker, t.name) for broker in config.brokers for t in broker.triggers]
        for removed in await streams.prepare(names):
            logger.warning("removed the events of %s: there is no such Trigger any more", removed)
        runner = web.AppRunner(application(routers, redis, faults=config.faults), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", config.port).start()
            await _until_stopped(deliveries)
        finally:
            await runner.cleanup()


async def _until_stopped(deliveries: list[TriggerDispatcher]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(delivery.run()) for delivery in deliveries]
        await stopped.wait()
        for task in running:
            task.cancel()


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=BrokerProcessConfig)
    uvloop.run(serve(config))


if __name__ == "__main__":
    main()
