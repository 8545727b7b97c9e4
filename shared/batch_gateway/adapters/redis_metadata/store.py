"""The store with its connection and all aggregates; checks that the server is durable."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from batch_gateway.adapters.redis_metadata.accounts import RedisQuotaUsage
from batch_gateway.adapters.redis_metadata.api_keys import RedisApiKeys
from batch_gateway.adapters.redis_metadata.audit import RedisAudit
from batch_gateway.adapters.redis_metadata.batches import RedisBatches
from batch_gateway.adapters.redis_metadata.claims import RedisIdempotencyClaims
from batch_gateway.adapters.redis_metadata.dead_letters import RedisDeadLetters
from batch_gateway.adapters.redis_metadata.files import RedisFiles
from batch_gateway.adapters.redis_metadata.keys import SCHEMA, TAG, MetadataKeys
from batch_gateway.adapters.redis_metadata.outbox import RedisOutbox
from batch_gateway.adapters.redis_metadata.processed_events import RedisProcessedEvents
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts, translated
from batch_gateway.adapters.redis_metadata.shards import RedisShards
from batch_gateway.adapters.redis_metadata.uploads import RedisUploads
from batch_gateway.adapters.redis_metadata.usage import RedisUsage
from batch_gateway.adapters.redis_metadata.webhooks import RedisWebhooks
from batch_gateway.adapters.redis_pool import open_pool
from batch_gateway.core.errors import Unavailable

CONNECT_TIMEOUT_S = 3.0
CONNECTIONS = 32  # per process; more callers at once wait for one another

_PERSISTENT = (
    "appendonly yes, appendfsync always and maxmemory-policy noeviction "
    "(in its configuration file, or by CONFIG SET followed by CONFIG REWRITE)"
)


class RedisMetadata:
    """MetadataStore on a client whose answers are decoded to text."""

    def __init__(
        self, redis: Redis, *, prefix: str, on_full: Callable[[], None] = lambda: None
    ) -> None:
        self._redis = redis
        self._keys = MetadataKeys(prefix)
        scripts = MetadataScripts(redis, self._keys, on_full)
        self.accounts = RedisQuotaUsage(scripts)
        self.files = RedisFiles(scripts)
        self.uploads = RedisUploads(scripts)
        self.batches = RedisBatches(scripts)
        self.shards = RedisShards(scripts)
        self.outbox = RedisOutbox(scripts)
        self.api_keys = RedisApiKeys(scripts)
        self.claims = RedisIdempotencyClaims(scripts)
        self.processed_events = RedisProcessedEvents(scripts)
        self.dead_letters = RedisDeadLetters(scripts)
        self.webhooks = RedisWebhooks(scripts)
        self.usage = RedisUsage(scripts)
        self.audit = RedisAudit(scripts)

    async def check(self) -> None:
        """Raise Unavailable unless the server answers, keeps all data, and has our layout.

        Writing the layout's version where there is none also shows that writing is possible.
        """
        async with translated():
            _demand_durability(await self._configuration())
            await self._redis.set(self._keys.schema, SCHEMA, nx=True)
            schema = await self._redis.get(self._keys.schema)
        if schema != SCHEMA:
            raise Unavailable(
                f"the metadata Redis holds layout {schema!r} under {self._keys.root}, this release "
                f"needs {SCHEMA}: use another prefix or the release that wrote it"
            )

    async def close(self) -> None:
        await self._redis.aclose()

    async def _configuration(self) -> Mapping[str, str]:
        """The settings that decide whether data can get lost.

        Managed services forbid CONFIG; INFO then has all values but the sync interval of the log.
        """
        with suppress(ResponseError):
            found: dict[Any, Any] = await self._redis.config_get("append*")
            found |= await self._redis.config_get("maxmemory-policy")
            if found:
                return found
        persistence = await self._redis.info("persistence")
        memory = await self._redis.info("memory")
        return {
            "appendonly": "yes" if persistence["aof_enabled"] else "no",
            "maxmemory-policy": memory["maxmemory_policy"],
        }


def _demand_durability(found: Mapping[str, str]) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    wrong = {
        name: found[name]
        for name, value in wanted.items()
        if name in found and found[name] != value
    }
    if wrong:
        has = ", ".join(f"{name} {value}" for name, value in wrong.items())
        raise Unavailable(
            f"the metadata Redis could lose data: it has {has}. Set {_PERSISTENT}, or name "
            "another server; the scratch Redis must not be used for metadata"
        )


def open_redis_metadata(
    url: str, *, prefix: str = "batch-gateway", on_full: Callable[[], None] = lambda: None
) -> RedisMetadata:
    """The store at ``url`` (see redis_locator); connects on use.

    Nothing is sent twice by the client: a script that got no answer may have run, and its caller
    must look again rather than lose a race against itself. ``on_full`` is called when the server
    took no more.
    """
    pool = open_pool(
        url,
        TAG,
        decode_responses=True,
        protocol=2,  # with 3, the client would not look whether an idle connection was closed
        max_connections=CONNECTIONS,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisMetadata(Redis.from_pool(pool), prefix=prefix, on_full=on_full)
