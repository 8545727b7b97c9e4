"""How each kind of fault of ``schedule.KINDS`` is done to a running world.

Each function returns when the fault is over and all is as it was. ``Skipped`` says why it could not
be done.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from batch_gateway.local.platform import BrokerFaults
from chaos.s3_proxy import Trouble
from chaos.schedule import SERVICES
from chaos.world import World, follow


class Skipped(Exception):
    """The fault could not be injected here and now."""


_PATIENCE_S = 20.0  # for a server that another fault has taken away
_TABLES = ("batches", "shards", "files", "outbox")


# -- processes ------------------------------------------------------------------------------------


async def kill(world: World, service: str) -> None:
    await _process(world, service)
    _signalled(lambda: world.platform.kill(service))


async def terminate(world: World, service: str) -> None:
    await _process(world, service)
    _signalled(lambda: world.platform.terminate(service))


async def stop(world: World, service: str, for_s: float) -> None:
    await _frozen((await _process(world, service))[0], for_s)


async def kill_broker(world: World) -> None:
    await world.platform.kill_broker()


async def stop_broker(world: World, for_s: float) -> None:
    await _frozen(_child("batch_gateway.local.broker"), for_s)


async def kill_fork_server(world: World) -> None:
    """And with it all functions' processes."""
    os.kill(_child("batch_gateway.local.fork_server"), signal.SIGKILL)


async def kill_broker_store(world: World) -> None:
    config = json.loads((world.data / "run" / "broker.json").read_text())
    await _kill_redis(config["redis_url"])


async def _kill_redis(url: str) -> None:
    """Kill a server that the platform starts again."""
    async with _redis(url) as redis:
        pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGKILL)


async def _process(world: World, service: str) -> list[int]:
    """The processes of a Service, as soon as there are any."""
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not (pids := world.platform.pids(service)):
                await asyncio.sleep(0.01)
            return pids
    raise Skipped(f"{service} is at zero")


def _signalled(strike: Callable[[], int]) -> None:
    try:
        strike()
    except LookupError as error:
        raise Skipped(str(error)) from error


async def _frozen(pid: int, for_s: float) -> None:
    try:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(for_s)
    except ProcessLookupError as error:
        raise Skipped("it has ended") from error
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _child(word: str) -> int:
    """The child process of ours whose command line has this word."""
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"):
                return pid
    raise Skipped(f"no process with {word}")


# -- events, endpoint, clocks ---------------------------------------------------------------------


async def events(world: World, drop: float, duplicate: float, delay: float, for_s: float) -> None:
    faults = BrokerFaults(drop=drop, duplicate=duplicate, delay=delay, reorder=0.2, delay_s=1.0)
    try:
        await _insist(lambda: world.platform.set_faults(faults))
        await asyncio.sleep(for_s)
    finally:
        await _insist(lambda: world.platform.set_faults(BrokerFaults()))


async def endpoint(world: World, kinds: list[str], rate: float, for_s: float) -> None:
    try:
        await world.model.configure(fault_rate=rate, fault_kinds=kinds)
        await asyncio.sleep(for_s)
    finally:
        await world.model.configure(fault_rate=0.0)


async def clock(world: World, service: str, offset_s: float, for_s: float) -> None:
    names = SERVICES if service == "all" else (service,)
    try:
        for name in names:
            world.clocks.set(name, offset_s)
        await asyncio.sleep(for_s)
    finally:
        for name in names:
            world.clocks.set(name, 0)


# -- the coordination store ------------------------------------------------------------------------


async def wipe_scratch(world: World) -> None:
    async with _redis(world.scratch_url) as redis:
        await redis.flushall()


async def kill_scratch(world: World) -> None:
    primary = world.stores.primary
    if primary is not None:
        primary.kill()
        await asyncio.sleep(0.5)
        await primary.start()
        return
    await _kill_redis(world.scratch_url)


async def pause_scratch(world: World, for_s: float) -> None:
    await _pause(world.scratch_url, for_s)


async def fill_scratch(world: World, for_s: float) -> None:
    await _full(world.scratch_url, for_s)


async def failover_scratch(world: World) -> None:
    """The replica takes over, with what it has got so far."""
    stores = world.stores
    assert stores.scratch is not None
    assert stores.primary is not None
    assert stores.replica is not None
    async with _redis(stores.replica.url) as redis:
        await redis.execute_command("REPLICAOF", "NO", "ONE")
    stores.scratch.switch(stores.replica.port)
    stores.primary, stores.replica = stores.replica, stores.primary
    await _insist(lambda: follow(stores.replica, stores.primary))  # type: ignore[arg-type]


# -- the metadata ---------------------------------------------------------------------------------


async def pause_metadata(world: World, for_s: float) -> None:
    assert world.stores.metadata is not None
    await _pause(world.stores.metadata.url, for_s)


async def kill_metadata(world: World) -> None:
    assert world.stores.metadata is not None
    world.stores.metadata.kill()
    await asyncio.sleep(0.5)
    await world.stores.metadata.start()


async def fill_metadata(world: World, for_s: float) -> None:
    assert world.stores.metadata is not None
    await _full(world.stores.metadata.url, for_s)


async def cut_postgres(world: World) -> None:
    await _sql(
        world,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


async def restart_postgres(world: World, mode: str) -> None:
    assert world.stores.postgres is not None
    await world.stores.postgres.stop(mode)
    await asyncio.sleep(0.5)
    await world.stores.postgres.start()


async def abort_transactions(world: World, sqlstate: str, rate: float, for_s: float) -> None:
    await _refused_writes(world, sqlstate, rate, for_s)


async def fill_postgres(world: World, for_s: float) -> None:
    await _refused_writes(world, "53100", 1.0, for_s)


async def _refused_writes(world: World, sqlstate: str, rate: float, for_s: float) -> None:
    """The server itself raises the error, as a statement of the product's transactions runs."""
    await _sql(
        world,
        f"""
        CREATE OR REPLACE FUNCTION chaos() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF random() < {rate} THEN
                RAISE EXCEPTION 'chaos' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN NULL;
        END $$;
        """
        + "".join(
            f"CREATE OR REPLACE TRIGGER chaos BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION chaos();"
            for table in _TABLES
        ),
    )
    try:
        await asyncio.sleep(for_s)
    finally:
        await _sql(world, "".join(f"DROP TRIGGER IF EXISTS chaos ON {t};" for t in _TABLES))


async def _sql(world: World, statement: str) -> None:
    postgres = world.stores.postgres
    assert postgres is not None
    await _insist(lambda: postgres.run(statement))


# -- files and disk -------------------------------------------------------------------------------


async def fill_disk(world: World, for_s: float) -> None:
    """Whatever becomes free meanwhile is taken too."""
    if world.ballast is None:
        raise Skipped("the data lies on no disk of its own")
    try:
        async with asyncio.timeout(for_s):
            while True:
                await asyncio.to_thread(world.ballast.fill)
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass
    finally:
        world.ballast.drop()


async def s3_error(world: World, error: str, rate: float, for_s: float) -> None:
    await _s3(world, Trouble(error=error, rate=rate), for_s)


async def s3_cut(world: World, rate: float, for_s: float) -> None:
    await _s3(world, Trouble(cut=True, rate=rate), for_s)


async def fill_s3(world: World, error: str, for_s: float) -> None:
    await _s3(world, Trouble(error=error, rate=1.0), for_s)


async def _s3(world: World, trouble: Trouble, for_s: float) -> None:
    proxy = world.stores.s3_proxy
    assert proxy is not None
    proxy.trouble = trouble
    try:
        await asyncio.sleep(for_s)
    finally:
        proxy.trouble = Trouble()


# -- common ---------------------------------------------------------------------------------------


async def _pause(url: str, for_s: float) -> None:
    async with _redis(url) as redis:
        await redis.execute_command("CLIENT", "PAUSE", str(int(for_s * 1000)), "ALL")
    await asyncio.sleep(for_s)


async def _full(url: str, for_s: float) -> None:
    """At its ``maxmemory``: whatever would need more memory is refused."""
    async with _redis(url) as redis:
        await redis.config_set("maxmemory", "1")
    try:
        await asyncio.sleep(for_s)
    finally:
        await _insist(lambda: _room(url))


async def _room(url: str) -> None:
    async with _redis(url) as redis:
        await redis.config_set("maxmemory", "0")


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url, socket_connect_timeout=2)
    try:
        yield client
    except (RedisError, OSError) as error:
        raise Skipped(f"the server does not answer: {error}") from error
    finally:
        await client.aclose()


async def _insist(step: Callable[[], Awaitable[Any]]) -> None:
    """Try again while another fault has the server."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                await step()
                return
            except (OSError, asyncpg.PostgresError, RedisError, Skipped, httpx.HTTPError):
                await asyncio.sleep(0.1)


FAULTS: Mapping[str, Callable[..., Awaitable[None]]] = {
    function.__name__: function
    for function in (
        *(kill, terminate, stop, kill_broker, stop_broker, kill_broker_store, kill_fork_server),
        *(events, endpoint, clock),
        *(wipe_scratch, kill_scratch, pause_scratch, fill_scratch, failover_scratch),
        *(pause_metadata, kill_metadata, fill_metadata),
        *(cut_postgres, restart_postgres, abort_transactions, fill_postgres),
        *(fill_disk, s3_error, s3_cut, fill_s3),
    )
}
