"""What a round runs on: the embedded platform, its stores, a simulated model, and their handles."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from benchmarks.stage import Model, model
from fixtures.gateway import BRISK
from fixtures.s3 import S3Server, seaweedfs
from openai import AsyncOpenAI

from batch_gateway.local.configuration import checked, local_defaults, variables
from batch_gateway.local.platform import LocalPlatform, PlatformOptions
from batch_gateway.settings import Settings
from chaos import schedule
from chaos.addresses import Address, address
from chaos.clock import Clocks
from chaos.disk import Ballast
from chaos.s3_proxy import S3Proxy, s3_proxy
from chaos.servers import (
    REDIS62,
    VALKEY,
    PostgresServer,
    RedisServer,
    postgres_server,
    redis_server,
)

Groups = dict[str, dict[str, Any]]

SECRET = "proof"
SPEED_UP = 10


@dataclass
class Stores:
    """The servers of a combination that a fault can get at; None: it has no such."""

    settings: Groups = field(default_factory=dict)
    metadata: RedisServer | None = None
    postgres: PostgresServer | None = None
    s3: S3Server | None = None
    s3_proxy: S3Proxy | None = None
    scratch: Address | None = None  # None: the platform has its own
    primary: RedisServer | None = None
    replica: RedisServer | None = None


@dataclass
class World:
    platform: LocalPlatform
    model: Model
    stores: Stores
    settings: Settings
    data: Path
    clocks: Clocks
    ballast: Ballast | None  # None: the data lies on no disk of its own

    @property
    def scratch_url(self) -> str:
        """Of the server that the functions use."""
        return self.settings.scratch.url.get_secret_value()

    def client(self, tenant: str) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=self.platform.base_url,
            api_key="any",
            max_retries=2,
            timeout=20,
            default_headers={"x-gateway-secret": SECRET, "x-gateway-tenant": tenant},
        )


@asynccontextmanager
async def world(plan: schedule.Schedule, folder: Path, *, own_disk: bool) -> AsyncIterator[World]:
    """Everything started for the round ``plan``; the data is in ``folder``/data.

    ``own_disk``: that folder is a disk of its own, which may be filled.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        stores = await _OPEN[plan.stores](stack, folder, Random(plan.seed))
        clocks = Clocks(folder / "clocks")
        stack.enter_context(clocks.installed())
        groups = {
            **BRISK,
            "inference": {"timeout_s": 8},  # of calls that an endpoint never answers
            "auth": {"kind": "trusted-header", "secret": SECRET},
            **stores.settings,
        }
        behind = await stack.enter_async_context(model(ttft_ms=30, slots=16))
        platform = await stack.enter_async_context(
            LocalPlatform(
                PlatformOptions(
                    port=0,
                    data=data,
                    inference_url=behind.url,
                    settings=groups,
                    speed_up=SPEED_UP,
                    faults=True,
                )
            )
        )
        settings = checked(
            {
                **local_defaults(data, scratch_url=platform.scratch_url),
                **variables(groups),
                **variables({"inference": {"url": behind.url}}),
            }
        )
        yield World(
            platform=platform,
            model=behind,
            stores=stores,
            settings=settings,
            data=data,
            clocks=clocks,
            ballast=Ballast(data) if own_disk else None,
        )


async def _local(_stack: AsyncExitStack, _folder: Path, _random: Random) -> Stores:
    return Stores()


async def _valkey(stack: AsyncExitStack, folder: Path, _random: Random) -> Stores:
    server = await stack.enter_async_context(
        redis_server(VALKEY, folder / "metadata", durable=True)
    )
    return Stores(settings={"metadata": {"url": server.url}}, metadata=server)


async def _cluster(stack: AsyncExitStack, folder: Path, random: Random) -> Stores:
    (folder / "s3").mkdir()
    s3 = stack.enter_context(seaweedfs(folder / "s3", gib=2))
    port = urlsplit(s3.endpoint).port
    assert port is not None
    proxy = await stack.enter_async_context(s3_proxy(port, random))
    postgres = await stack.enter_async_context(postgres_server())
    primary, replica = [
        await stack.enter_async_context(redis_server(REDIS62, folder / name, durable=False))
        for name in ("redis-a", "redis-b")
    ]
    await follow(replica, primary)
    scratch = await stack.enter_async_context(address(primary.port))
    before = replace(s3, endpoint=f"http://127.0.0.1:{proxy.port}", prefix="chaos")
    return Stores(
        settings={
            "metadata": {"url": postgres.url, "migrate": True},
            "scratch": {"url": f"redis://127.0.0.1:{scratch.port}/0"},
            "files": before.settings,
        },
        postgres=postgres,
        s3=s3,
        s3_proxy=proxy,
        scratch=scratch,
        primary=primary,
        replica=replica,
    )


async def follow(replica: RedisServer, primary: RedisServer) -> None:
    """Make a server the replica of another."""
    from redis.asyncio import Redis

    async with Redis.from_url(replica.url) as client:
        await client.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))


_OPEN = {schedule.SQLITE: _local, schedule.POSTGRES: _cluster, schedule.VALKEY: _valkey}
