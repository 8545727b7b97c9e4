"""OpenAI's Python client against the service, in both modes.

Tests share a server per module and mode, and each is a tenant of its own. Every answer is held
against OpenAI's description of it while it passes (``fixtures.openai_schema``). The numbers in the
names of tests are those of the list of checks that this suite was written from; the list itself is
in ``test_coverage``.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
import pytest
from fixtures.api import AUTH, NO_QUOTA, Server, headers_of, running
from fixtures.openai_schema import violations
from openai import DefaultHttpxClient, OpenAI

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import ApiSettings, QuotaSettings

MODELS = ("sim-large", "org/sim-small")
_tenants = count(1)
_NO_TLS = ssl.create_default_context()  # made once: making it takes longer than most tests


@pytest.fixture(scope="module", params=["extended", "strict"])
def mode(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(mode, tmp_path_factory, _valkey) -> Iterator[Server]:
    """The API in one of its modes, without executors."""
    folder = tmp_path_factory.mktemp("openai")
    database = f"sqlite+aiosqlite:///{folder}/metadata.db"
    server = Server(folder, database, _valkey, models=MODELS)
    with running(server, ApiSettings(mode=mode), AUTH, idle_s=30) as served:
        yield served


@pytest.fixture
def serve(mode, tmp_path, _valkey):
    """Starts an API with other settings: ``with serve(max_file_bytes=1000) as server``.

    ``private_webhooks``: whether its webhooks may go to this machine.
    """

    def serve(quota: QuotaSettings = NO_QUOTA, *, private_webhooks: bool = False, **settings):
        database = f"sqlite+aiosqlite:///{tmp_path}/metadata.db"
        server = Server(tmp_path, database, _valkey, private_webhooks=private_webhooks)
        return running(server, ApiSettings(mode=mode, **settings), AUTH, 30, quota)

    return serve


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(f"sdk-{next(_tenants)}")


@contextmanager
def watched(base_url: str, *, extended: bool, **options) -> Iterator[OpenAI]:
    """A client whose answers must have OpenAI's form; ``client.sent`` is what it has sent."""
    found: list[str] = []
    sent: list[httpx.Request] = []

    def look(answer: httpx.Response) -> None:
        found.extend(violations(answer, extended=extended))

    http = DefaultHttpxClient(
        verify=_NO_TLS, event_hooks={"request": [sent.append], "response": [look]}
    )
    with OpenAI(base_url=base_url, http_client=http, **{"api_key": "any", **options}) as client:
        client.sent = sent
        yield client
    assert found == []


@pytest.fixture
def client(server, mode, tenant) -> Iterator[OpenAI]:
    """The client of the test's tenant."""
    with watched(
        f"{server.url}/v1", extended=mode == "extended", default_headers=headers_of(tenant)
    ) as client:
        yield client


@pytest.fixture
def stranger(server, mode) -> Iterator[OpenAI]:
    """The client of another tenant."""
    headers = headers_of(TenantId(f"stranger-{next(_tenants)}"))
    with watched(f"{server.url}/v1", extended=mode == "extended", default_headers=headers) as other:
        yield other
