"""MetadataStore on a persistent Redis or Valkey (6.2 or newer), not the coordination store's.

Every write of the port is one Lua script, so it is a transaction without locks; the server's own
clock judges deadlines and fences. Whatever is looked for has an index: nothing ever scans the key
space. ``keys`` draws the layout, ``lua/`` holds the scripts and ``lua/_prelude.lua`` what they
share. The server must keep what it has answered (``appendfsync always``); ``check`` refuses others.
"""

from batch_gateway.adapters.redis_metadata.store import RedisMetadata, open_redis_metadata

__all__ = ["RedisMetadata", "open_redis_metadata"]
