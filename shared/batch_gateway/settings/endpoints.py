"""An endpoint in the routing file: its URL, credentials, limits and retries."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from batch_gateway.core.calendar import CallLimitWindow, EndpointCalendar
from batch_gateway.core.cron import CronSchedule, parse_cron
from batch_gateway.core.routing import EnginePriority, ModelEndpoint, TlsOptions
from batch_gateway.settings.base import Count, Positive, Seconds, SettingsGroup

#: Set by every call itself; a file must not.
_RESERVED = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)


def listed(value: Any) -> Any:
    """One thing is a list of one."""
    return value if isinstance(value, list | tuple | None) else [value]


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http:// or https:// with a host")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValueError("must not end in /v1: the request lines' own paths are appended")
    return url.rstrip("/")


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not HEADER.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"{name!r} is not a header, or its value is not plain ASCII")
        if name.lower() in _RESERVED:
            raise ValueError(f"{name} cannot be set here (keys are given by api_key_file)")
    return headers


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin") from None
    except KeyError:
        raise ValueError(f"there is no time zone {name!r}") from None
    return name


def _cron(text: str) -> str:
    parse_cron(text)
    return text


#: Part of the names of pools, which are ``endpoint/model``.
EndpointName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
CronText = Annotated[str, AfterValidator(_cron)]


class WindowEntry(SettingsGroup):
    when: Annotated[tuple[CronText, ...], BeforeValidator(listed), Field(min_length=1)]
    """Cron expressions of the minutes in which the window is open; any of them."""
    max_concurrency: Count
    """Calls at once meanwhile; 0: none."""


class CalendarEntry(SettingsGroup):
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Whose clock on the wall the windows go by."""
    windows: tuple[WindowEntry, ...]
    """Of several open ones the lowest limit holds."""

    def calendar(self) -> EndpointCalendar:
        return EndpointCalendar(
            zone=ZoneInfo(self.time_zone),
            windows=tuple(
                CallLimitWindow(when=_crons(window.when), most=window.max_concurrency)
                for window in self.windows
            ),
        )


class LineRetrySettings(SettingsGroup):
    attempts: Positive = 5
    """Maximum number of calls for one request line that fail for a reason that may be its own
    (timeout, broken connection, invalid response). Overload and unreachable endpoints (429, 503,
    connection refused) do not count: such calls are retried until the batch's deadline."""
    backoff_s: Seconds = 0.5
    """Pause before the second attempt; doubles from there, with jitter."""
    backoff_max_s: Seconds = 60
    """Longest pause; a longer Retry-After is honoured up to this."""

    @property
    def backoff(self) -> timedelta:
        return timedelta(seconds=self.backoff_s)

    @property
    def backoff_max(self) -> timedelta:
        return timedelta(seconds=self.backoff_max_s)


class RetryEntry(LineRetrySettings):
    statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] | None = None
    """HTTP statuses that are worth another attempt; None: 408, 429 and all from 500."""


class BreakerEntry(SettingsGroup):
    failures: Positive = 5
    """Consecutive failed calls (no connection, 502, 503, 504) that open the circuit breaker."""
    pause_s: Seconds = 0.5
    """How long the open breaker allows no call; doubles after each failed trial call."""
    pause_max_s: Seconds = 10
    """Longest such pause."""

    @model_validator(mode="after")
    def _ordered(self) -> "BreakerEntry":
        if self.pause_s > self.pause_max_s:
            raise ValueError("pause_s must not be above pause_max_s")
        return self


class EndpointEntry(SettingsGroup):
    url: Annotated[str, AfterValidator(_base_url)]
    """Base URL, without /v1."""
    api_key_file: Path | None = None
    """File that holds the API key; it is read again when it changes."""
    api_key_env: str | None = None
    """Or the environment variable that holds it. Neither: no Authorization header."""
    ca_file: Path | None = None
    """Authorities that its certificate may come from, in PEM; None: the system's."""
    client_cert_file: Path | None = None
    """Our certificate (mTLS), with its chain, in PEM."""
    client_key_file: Path | None = None
    """Its key; None: it is in the same file."""
    verify: bool = True
    """Whether its certificate is checked at all; false is for experiments only."""
    timeout_s: Seconds = 300
    """Longest single call; the activation's hard budget bounds it too."""
    max_concurrency: Positive | None = None
    """Calls at once, of all executors and models; None: only the deployment's limits."""
    metrics_url: str | None = None
    """Prometheus metrics of the engine, or of the router before several; None: /metrics under
    ``url``."""
    weight: Positive = 1
    """Its share of the calls when several replicas of a model have room."""
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    """Sent with every call."""
    objective: str | None = None
    """Sent as x-gateway-inference-objective; None: inference.objective."""
    priority: Literal["vllm", "sglang"] | None = None
    """Write a `priority` into every body, as this engine reads it: behind interactive requests
    (0), a batch's own priority included. None: bodies are sent as they are."""
    priority_base: Count = 100
    """How far behind."""
    retry: RetryEntry | None = None
    """None: the deployment's retry settings."""
    breaker: BreakerEntry = BreakerEntry()
    """When the endpoint counts as away, and how it is tried again."""
    calendar: CalendarEntry | None = None
    """When how many calls are allowed; None: always the same."""

    @model_validator(mode="after")
    def _consistent(self) -> "EndpointEntry":
        if self.api_key_file and self.api_key_env:
            raise ValueError("api_key_file and api_key_env exclude each other")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file needs client_cert_file")
        return self

    def endpoint(self, name: str, objective: str | None) -> ModelEndpoint:
        """``objective`` is the deployment's."""
        signs = {"vllm": 1, "sglang": -1}
        return ModelEndpoint(
            name=name,
            url=self.url,
            timeout=timedelta(seconds=self.timeout_s),
            headers=self.headers,
            key_file=self.api_key_file,
            key_variable=self.api_key_env,
            tls=TlsOptions(
                ca=self.ca_file,
                certificate=self.client_cert_file,
                key=self.client_key_file,
                verify=self.verify,
            ),
            most=self.max_concurrency,
            calendar=None if self.calendar is None else self.calendar.calendar(),
            metrics_url=self.metrics_url,
            objective=self.objective or objective,
            priority=None
            if self.priority is None
            else EnginePriority(sign=signs[self.priority], base=self.priority_base),
            retry=self.retry,
            breaker=self.breaker,
        )


def _crons(texts: Sequence[str]) -> tuple[CronSchedule, ...]:
    return tuple(parse_cron(text) for text in texts)
