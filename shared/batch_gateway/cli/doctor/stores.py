"""Checks of the stores that the settings name, from this host."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.doctor.findings import DoctorFinding, error, note, ok, warning
from batch_gateway.core.errors import BatchGatewayError, StorageFull
from batch_gateway.settings import Settings

_PATIENCE_S = 10.0
_SKEW_S = 5.0
_OLDEST_REDIS = (6, 2)


async def check_stores(settings: Settings) -> list[DoctorFinding]:
    """All of them, side by side; none keeps another from being looked at."""
    checks = (metadata, scratch, files, endpoint)
    found = await asyncio.gather(*(findings_of(check, settings) for check in checks))
    return [finding for findings in found for finding in findings]


async def findings_of(check: Any, settings: Settings) -> list[DoctorFinding]:
    found: list[DoctorFinding] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            async for finding in check(settings):
                found.append(finding)
    except TimeoutError:
        found.append(error(f"{check.__name__}: no answer for {_PATIENCE_S:g} s", _REACH))
    except StorageFull as full:
        found.append(error(f"{check.__name__}: {' '.join(str(full).split())}", _MAKE_ROOM))
    except (BatchGatewayError, ValueError) as wrong:
        found.append(error(f"{check.__name__}: {' '.join(str(wrong).split())}", _REACH))
    return found


_MAKE_ROOM = "delete what is not needed, or give it more room: work continues by itself then"
_REACH = "is it running, is the URL right, and do NetworkPolicies let us through?"


async def metadata(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """The database answers, has this release's schema, and (Redis) keeps all data."""
    from batch_gateway.cli.metadata_settings import missing_database
    from batch_gateway.wiring.stores import open_metadata

    if (missing := missing_database(settings)) is not None:
        yield error(f"metadata: {missing}", "`batch-gateway doctor --data DIR` checks a folder")
        return
    scheme = urlsplit(settings.metadata.url.get_secret_value()).scheme
    store = await open_metadata(settings)
    try:
        try:
            await store.check()
        except BatchGatewayError as wrong:
            fix = fixes.migrate() if "schema" in str(wrong) else _REACH
            yield error(f"metadata: {wrong}", fix)
            return
        yield ok(f"the metadata store ({scheme}) answers and has this release's schema")
        if scheme.startswith("sqlite"):
            yield note("the metadata store is SQLite: for one machine, not for a cluster")
    finally:
        await store.close()
    if scheme.startswith(("redis", "valkey")):
        url = settings.metadata.url.get_secret_value()
        if _places(url) & _places(settings.scratch.url.get_secret_value()):
            yield error(
                "the metadata store and the coordination store are one Redis",
                "give the metadata store a persistent Redis of its own",
            )


async def scratch(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """The coordination store answers; Redis is also recent enough and keeps all keys."""
    from batch_gateway.store_plugins import SCRATCH_STORES, is_built_in
    from batch_gateway.wiring.stores import open_scratch_server

    url = settings.scratch.url.get_secret_value()
    if is_built_in(SCRATCH_STORES, url):
        async for finding in redis_scratch(settings):
            yield finding
        return
    store = open_scratch_server(settings)
    try:
        await store.check()
    finally:
        await store.close()
    yield ok(f"the coordination store ({urlsplit(url).scheme}) answers")


async def redis_scratch(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """The server is recent enough, evicts no keys, and its clock agrees with this host's."""
    from redis.exceptions import RedisError

    from batch_gateway.adapters.redis_coordination.server import connect

    client = connect(settings.scratch.url.get_secret_value(), tag=settings.scratch.prefix)
    try:
        try:
            info: Mapping[str, Any] = await client.info()
            began = time.time()
            seconds, micros = await client.time()
        except (RedisError, OSError) as wrong:
            yield error(f"scratch: {wrong}", _REACH)
            return
    finally:
        await client.aclose()
    version = str(info.get("valkey_version") or info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        yield error(f"the coordination store is {version}", "6.2 or newer is needed")
    else:
        yield ok(f"the coordination store answers ({info.get('server_name', 'redis')} {version})")
    most = int(info.get("maxmemory", 0))
    if most and int(info["used_memory"]) >= most:
        yield error(
            f"the coordination store is full (maxmemory {most} bytes)", "give it more memory"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        yield warning(
            f"the coordination store evicts keys (maxmemory-policy {policy}): "
            "slots and leases may be lost",
            "CONFIG SET maxmemory-policy noeviction",
        )
    skew = int(seconds) + int(micros) / 1e6 - (began + time.time()) / 2
    if abs(skew) > _SKEW_S:
        yield warning(f"the coordination store's clock is {skew:+.0f} s from ours", "use NTP")


async def files(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """Puts, reads, lists and deletes an object of its own."""
    from batch_gateway.wiring.stores import open_files

    store = open_files(settings)
    key = f"doctor/{secrets.token_hex(8)}"
    step = "put"
    try:
        await store.put(key, b"probe")
        step = "get"
        content = b"".join([chunk async for chunk in store.read(key)])
        step = "list"
        listed = [blob.key async for blob in store.list("doctor/")]
        step = "delete"
        await store.delete(key)
        if content != b"probe" or key not in listed:
            yield error("files: what was written is not what is there", "is it a real S3 store?")
        else:
            yield ok(f"objects can be put, read, listed and deleted at {settings.files.url}")
    except StorageFull as full:
        yield error(f"files: {full}", _MAKE_ROOM)
    except BatchGatewayError as wrong:
        yield error(
            f"files: cannot {step} an object at {settings.files.url}: {wrong}",
            "the credentials need put, get, list and delete on that bucket and prefix",
        )
    finally:
        await store.close()


async def endpoint(settings: Settings) -> AsyncIterator[DoctorFinding]:
    """The model endpoint answers; its models are not checked."""
    from batch_gateway.cli.probing import probed

    inference = settings.inference
    if inference.routes is not None:
        yield note(
            f"the routing file {inference.routes} selects the endpoints; they are not checked here"
        )
        return
    found = await probed(inference)
    if found.status is None:
        yield warning(
            f"the model endpoint does not answer: {found.url}: {found.reason}",
            "batches wait for it until their deadline; set inference.url if it is elsewhere",
        )
    elif found.status in (401, 403):
        yield error(f"{found.url} answers {found.status}", "set inference.api_key")
    elif not found.good:
        yield warning(f"{found.url} answers {found.status}", "is that an OpenAI-compatible server?")
    else:
        yield ok(f"the model endpoint answers: {inference.url}")


def _places(url: str) -> set[tuple[str | None, int, str]]:
    """Host, port and database of each server that a Redis URL names."""
    parts = urlsplit(url)
    servers = [urlsplit(f"//{server}") for server in parts.netloc.rpartition("@")[2].split(",")]
    database = parts.path.strip("/") or "0"
    return {(server.hostname, server.port or 6379, database) for server in servers}
