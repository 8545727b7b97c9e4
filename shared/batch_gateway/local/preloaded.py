"""The modules that the fork server imports for the functions.

A function imports most of what it needs when its application is built (``wiring``), so that a pod
of a cluster imports nothing for the others. Here all of them are forked from one process, which
imports everything that a function imports on its way to ready, and during a batch on SQLite and
local files: what is imported before a fork costs time and memory once. Modules of other stores,
and those that few requests need, are imported when they are used. A test holds that the functions
find nothing left to import.
"""

#: Imported before the first process is forked: what the API needs, which is started first.
FIRST = (
    "aiohttp.web",
    "batch_gateway.web.server",
    "batch_gateway.adapters.engine_http",
    "batch_gateway.adapters.events_http",
    "batch_gateway.adapters.local_files.plugin",
    "batch_gateway.adapters.redis_coordination.plugin",
    "batch_gateway.adapters.sealing",
    "batch_gateway.adapters.sql.plugin",
    "batch_gateway.adapters.sql.sqlite_driver",
    "batch_gateway.services.audit",
    "batch_gateway.services.batches.analytics",
    "batch_gateway.services.batches.retry",
    "batch_gateway.services.rate_limiter",
    "batch_gateway.services.results.lookup",
    "batch_gateway.services.state_snapshot",
    "batch_gateway.services.usage",
    "batch_gateway.services.webhooks.endpoints",
    "batch_gateway.web.api",
    "batch_gateway.web.api.admin",
    "batch_gateway.web.api.admin_batches",
    "batch_gateway.web.api.admin_keys",
    "batch_gateway.web.api.admin_work",
    "batch_gateway.web.auth",
    "batch_gateway.web.console",
    "batch_gateway.wiring.api",
    "encodings.idna",
    "functions_framework.aio",
    "importlib.readers",
    "importlib.resources.readers",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)

#: Imported while no process is asked for: what the other functions need besides.
LATER = (
    "batch_gateway.adapters.engine_metrics",
    "batch_gateway.adapters.memory_line_index",
    "batch_gateway.adapters.model_http",
    "batch_gateway.adapters.sqlite_line_index",
    "batch_gateway.services.assemble.assembler",
    "batch_gateway.services.execute.executor",
    "batch_gateway.services.maintenance.janitor_loop",
    "batch_gateway.services.plan.planner",
    "batch_gateway.services.webhooks.notifier",
    "batch_gateway.wiring.assembler",
    "batch_gateway.wiring.executor",
    "batch_gateway.wiring.janitor",
    "batch_gateway.wiring.notifier",
    "batch_gateway.wiring.planner",
)
