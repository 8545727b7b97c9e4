"""The settings that each function reads.

A function gets an object that has the settings listed here and no others (``only``): it cannot read
what is not listed. ``deploy`` starts those functions anew that read a changed setting
(``reads_variable``), and a process gives way when a setting that it reads has changed.
"""

import re
from collections.abc import Container, Mapping

from batch_gateway.settings.base import SettingsGroup
from batch_gateway.settings.root import PREFIX, Settings

Reads = Mapping[str, frozenset[str]]
"""Fields by group."""


def _fields_of(group: str) -> frozenset[str]:
    return frozenset(type(Settings.model_fields[group].default).model_fields)


def _all(*groups: str) -> dict[str, frozenset[str]]:
    return {group: _fields_of(group) for group in groups}


def _all_but(group: str, *fields: str) -> dict[str, frozenset[str]]:
    return {group: _fields_of(group).difference(fields)}


def _some(**groups: str) -> dict[str, frozenset[str]]:
    return {group: frozenset(fields.split()) for group, fields in groups.items()}


def _joined(*parts: Reads) -> Reads:
    joined: dict[str, frozenset[str]] = {}
    for part in parts:
        for group, fields in part.items():
            if unknown := fields - _fields_of(group):
                raise ValueError(f"{group} has no field {', '.join(sorted(unknown))}")
            joined[group] = joined.get(group, frozenset()) | fields
    return joined


_EVERY = _joined(
    _all("metadata", "scratch", "probes", "log"),
    _all_but("files", "scratch_dir"),
    _some(events="signing_keys", auth="kind", metrics="token", tracing="enabled endpoint"),
)
#: Of those that receive events signed by us, or by intake's sources.
_HEARING = _some(events="unknown_key_s")
_SENDING = _some(events="sink timeout_s token_file", sweep="unsent_s")
#: ``execution.hard_budget_s`` bounds the time-outs in a routing file.
_ROUTES = _joined(
    _all_but("inference", "pass_headers", "header_keys", "api_key"),
    _some(execution="hard_budget_s"),
)
#: Of those that send requests to model endpoints, and also read the keys that a routing file names.
_CALLING = _joined(_ROUTES, _some(inference="api_key"))
_PASSING = _some(inference="header_keys")
_QUOTAS = _some(quota="files stored_bytes open_batches queued_requests")
_BATCHES = _joined(
    _PASSING,
    _QUOTAS,
    _some(
        api="mode max_file_bytes max_other_file_bytes file_expiry_s",
        execution="fence_s",
        queue="tenant_weights",
    ),
)
_WEBHOOKS = _some(webhooks="encryption_keys timeout_s allow_http allow_private")

READS: Mapping[str, Reads] = {
    "api": _joined(
        _EVERY,
        _SENDING,
        _CALLING,
        _BATCHES,
        _WEBHOOKS,
        _all("auth", "quota", "limits", "metrics", "prices"),
        _all_but("api", "max_lines", "output_expiry_s"),
        _some(
            inference="pass_headers", webhooks="most_endpoints", execution="fence_s max_activations"
        ),
    ),
    "intake": _joined(_EVERY, _HEARING, _SENDING, _BATCHES, _all("intake")),
    "planner": _joined(
        _EVERY,
        _HEARING,
        _SENDING,
        _ROUTES,
        _QUOTAS,
        _all("planning", "prices"),
        _some(
            files="scratch_dir",
            api="mode max_lines max_file_bytes",
            execution="max_activations",
            queue="tenant_weights",
        ),
    ),
    "executor": _joined(
        _EVERY,
        _HEARING,
        _SENDING,
        _CALLING,
        _PASSING,
        _all("limits", "queue", "retry", "watching", "prices"),
        _all_but("execution", "assembly_ttl_s", "assembly_run_bytes"),
        _some(api="output_expiry_s", tracing="requests_per_shard"),
    ),
    "assembler": _joined(
        _EVERY,
        _HEARING,
        _SENDING,
        _some(
            files="scratch_dir",
            api="output_expiry_s",
            planning="max_line_bytes",
            execution="assembly_ttl_s assembly_run_bytes",
        ),
    ),
    "janitor": _joined(
        _EVERY,
        _HEARING,
        _SENDING,
        _ROUTES,
        _all("sweep", "limits", "batches"),
        _some(
            execution="fence_s max_activations lease_ttl_s",
            queue="tenant_weights",
            webhooks="keep_s",
            intake="remember_s",
            dead_letters="keep_s",
            usage="keep_s",
            audit="keep_s",
        ),
    ),
    "notifier": _joined(
        _EVERY, _HEARING, _WEBHOOKS, _some(webhooks="backoff_s backoff_max_s give_up_s")
    ),
    "deadletter": _joined(_EVERY, _some(dead_letters="most")),
}


def only(settings: Settings, reads: Reads) -> Settings:
    """A copy of ``settings`` with the fields in ``reads``; to read another is an AttributeError."""
    narrowed = settings.model_copy()
    for group in Settings.model_fields:
        if group not in reads:
            del narrowed.__dict__[group]
            continue
        found: SettingsGroup = getattr(settings, group).model_copy()
        for field in _fields_of(group) - reads[group]:
            del found.__dict__[field]
        narrowed.__dict__[group] = found
    return narrowed


#: Variables that libraries of every function read: TLS, proxies, drivers of the stores, Python, the
#: C library and the server.
_LIBRARIES = re.compile(
    r"(AWS|PG|SSL|OPENSSL|PYTHON|PYDANTIC|PROMETHEUS|ASYNCPG|AIOHTTP|OTEL|MALLOC|LD|LC|GLIBC)[A-Z_]+"
    r"|SSLKEYLOGFILE|(HTTP|HTTPS|ALL|NO)_PROXY|NETRC|FORWARDED_ALLOW_IPS|LOG_EXECUTION_ID"
    r"|TZ|TZDIR|LANG|HOME|PATH|TMPDIR|HOST|PORT|FUNCTION_(SOURCE|TARGET)|K_[A-Z_]+",
    re.IGNORECASE,
)


def calls_endpoints(settings: Settings) -> bool:
    """Whether the function that has these settings has the keys of model endpoints."""
    return "api_key" in vars(settings.inference)


def reads_variable(function: str, variable: str, keys: Container[str] | None = ()) -> bool:
    """Whether ``function`` reads an environment variable.

    ``keys``: the variables that the routing file names as ``api_key_env``; None: not known, so any
    may be one. Functions that send requests to endpoints read those. All functions read what
    libraries read (SSL_CERT_FILE, AWS_..., PG...). No function reads any other variable, with one
    exception: a ``BATCH_GATEWAY_`` variable that this release does not know counts as read, as the
    image may be of a later release. So does all of a function that this release does not know.
    """
    reads = READS.get(function)
    if reads is None:
        return True
    if _LIBRARIES.fullmatch(variable):
        return True
    name = variable.upper()
    ours = name.startswith(PREFIX)
    if (not ours) if keys is None else (variable in keys):
        return "api_key" in reads.get("inference", frozenset())
    if not ours:
        return False
    group, _, rest = name.removeprefix(PREFIX).lower().partition("__")
    if group not in Settings.model_fields:
        return True
    field = rest.partition("__")[0]
    if not field:  # the whole group as a JSON object
        return group in reads
    return field in reads.get(group, frozenset()) or field not in _fields_of(group)


def sends_events(function: str) -> bool:
    """Whether ``function`` sends events, and therefore needs the broker's address."""
    return reads_variable(function, f"{PREFIX}EVENTS__SINK")
