"""One API server serves the whole run.

Each test is a tenant of its own, so nothing of another test is in its way. Tests that need other
settings start a server for themselves with ``serve_api``.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import count

import httpx
import pytest
from fixtures.api import AUTH, NO_QUOTA, Server, http_client, openai_client, running
from openai import AsyncOpenAI

from batch_gateway.adapters.redis_coordination import open_scratch
from batch_gateway.core.ids import TenantId
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.settings import ApiSettings, AuthSettings, QuotaSettings


@pytest.fixture(scope="session")
def _shared_server(tmp_path_factory, _valkey) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    server = Server(folder, f"sqlite+aiosqlite:///{folder}/metadata.db", _valkey)
    with running(server, ApiSettings(), AUTH, idle_s=30) as served:
        yield served


@pytest.fixture
def server(_shared_server) -> Iterator[Server]:
    """The API with the default settings, behind a trusted gateway."""
    yield _shared_server
    _shared_server.clock.ahead = timedelta()
    _shared_server.broker.away = False
    _shared_server.broker.events.clear()
    _shared_server.dependencies.clear()


@pytest.fixture
def serve_api(tmp_path, _valkey):
    """Starts a server with other settings: ``with serve_api(Api(...)) as server``."""

    def serve(
        api: ApiSettings | None = None,
        *,
        auth: AuthSettings = AUTH,
        idle_s: float = 30,
        scratch_url: str = _valkey,
        quota: QuotaSettings = NO_QUOTA,
        private_webhooks: bool = False,
    ):
        server = Server(
            tmp_path,
            f"sqlite+aiosqlite:///{tmp_path}/metadata.db",
            scratch_url,
            private_webhooks=private_webhooks,
        )
        return running(server, api or ApiSettings(), auth, idle_s, quota)

    return serve


_tenants = count(1)


@pytest.fixture
def tenant() -> TenantId:
    """A new tenant."""
    return TenantId(f"tenant-{next(_tenants)}")


@pytest.fixture
async def http(server, tenant) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of the test's tenant."""
    async with http_client(server, tenant) as client:
        yield client


@pytest.fixture
async def openai(server, tenant) -> AsyncIterator[AsyncOpenAI]:
    """The official client of the test's tenant."""
    async with openai_client(server, tenant) as client:
        yield client


@pytest.fixture
async def stranger(server) -> AsyncIterator[AsyncOpenAI]:
    """The official client of another tenant."""
    async with openai_client(server, TenantId(f"stranger-{next(_tenants)}")) as client:
        yield client


@pytest.fixture
async def metadata(server) -> AsyncIterator[MetadataStore]:
    """The server's database, seen from outside of it."""
    async with server.metadata() as store:
        yield store


@pytest.fixture
async def coordination(server):
    """The server's coordination store, seen from outside of it."""
    store = open_scratch(server.scratch_url, prefix="api-test")
    yield store
    await store.close()
