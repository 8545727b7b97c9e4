"""Settings of model calls: limits, engine monitoring, retries and endpoints."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from batch_gateway.settings.base import (
    Count,
    InconsistentSettings,
    Positive,
    Seconds,
    SettingsGroup,
)
from batch_gateway.settings.endpoints import HEADER, LineRetrySettings
from batch_gateway.settings.texts import VALUES

#: Headers that every call sets itself.
NOT_PASSED = frozenset(
    {"connection", "content-length", "content-type", "host", "transfer-encoding", "x-request-id"}
)


class LimitSettings(SettingsGroup):
    start: Positive = 8
    """Initial limit of a pool."""
    floor: Count = 0
    """Slots that a pool keeps when its engine is full. 0: batch work stops while interactive users
    wait, and resumes when there is room. Without an engine monitor one slot is kept."""
    ceiling: Positive = 256
    """Maximum limit of a pool."""
    total: Positive | None = None
    """Maximum number of slots of all pools together, over all executors; None: no bound."""
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Factor by which dropped calls lower a limit, once per controller interval; by at least as
    many slots as calls were dropped. 0.9 costs a twentieth of an overloaded endpoint's use."""
    step: Annotated[float, Field(gt=0)] = 0.5
    """Slots that each round trip without dropped calls adds."""
    slower: Annotated[float, Field(gt=1)] = 1.5
    """Calls that take this many times their usual duration are assumed to wait in an engine queue.
    Used only without metrics and probes."""
    interval_s: Seconds = 0.2
    """Interval of the controller that adapts the limits."""
    half_life_s: Seconds = 3600
    """Half-life with which the limit of an idle pool returns to limits.start, because engines
    change over time."""

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_s)

    @property
    def half_life(self) -> timedelta:
        return timedelta(seconds=self.half_life_s)

    @model_validator(mode="after")
    def _ordered(self) -> "LimitSettings":
        if self.floor > self.ceiling:
            text = "limits.floor must not be above limits.ceiling"
            raise InconsistentSettings(text, self, "floor", "ceiling")
        return self


class EngineMonitorSettings(SettingsGroup):
    metrics: bool = True
    """Whether to read the metrics of engines where available."""
    interval_s: Seconds = 0.2
    """Interval of reading metrics."""
    stale_s: Seconds = 1.0
    """Age at which metrics no longer raise a limit."""
    keep_free: Count = 1
    """Slots of an engine that stay free for the next interactive request."""
    cache_full: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of an engine's KV cache above which it gets no more calls; a full engine preempts."""
    probe: bool = True
    """Whether to probe engines without metrics with one-token requests, one at a time. Only while
    batch work runs there."""
    probe_interval_s: Seconds = 0.12
    """How often."""
    probe_wait_ms: Annotated[float, Field(gt=0)] = 50
    """How much slower than usual a probe may be, and how long an engine's queue may last, before
    the limit is lowered."""
    probe_cut: Positive = 4
    """Slots that a pool gives up at each check that finds a probe unanswered. At the first check it
    is one slot: most queues end with the next call."""
    probe_step: Positive = 1
    """Slots that each probe in time adds; twice as many after two seconds without a late one."""
    abort: bool = True
    """Whether the youngest calls are aborted when a pool must give up slots for interactive users;
    their lines are sent again later."""
    abort_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Maximum share of an executor's slot time that aborted calls may waste."""
    calm_s: Seconds = 5.0
    """Time without waiting users after which aborted lines are sent again, at most a minute. Other
    work continues."""
    abort_times: Positive = 3
    """Maximum number of times that one line is aborted."""

    @property
    def stale(self) -> timedelta:
        return timedelta(seconds=self.stale_s)

    @property
    def probe_wait(self) -> timedelta:
        return timedelta(milliseconds=self.probe_wait_ms)


class RetrySettings(LineRetrySettings):
    budget: Annotated[float, Field(ge=0)] = 1.0
    """Maximum number of retries of a batch, as a share of its lines, counted per shard. It bounds
    the cost of an endpoint that breaks every response. A few retries are always allowed."""

    @property
    def statuses(self) -> None:
        """None: the usual statuses are retried. An endpoint of the routing file may name others."""
        return None


class InferenceSettings(SettingsGroup):
    url: str = "http://127.0.0.1:8000"
    """Base URL of the OpenAI-compatible endpoint, without /v1."""
    api_key: SecretStr | None = None
    """Sent as bearer token; None: no Authorization header."""
    timeout_s: Seconds = 300
    """Longest single model call; the activation's hard budget bounds it too."""
    metrics_url: str | None = None
    """Prometheus metrics of the endpoint; None: /metrics under its base URL."""
    models: Annotated[tuple[str, ...], *VALUES] = ()
    """Models that requests may name; empty: any."""
    routes: Path | None = None
    """Routing file: several endpoints, replicas, aliases and calendars; it replaces url, api_key,
    timeout_s and models, and is reloaded when it changes. None: all models are at url."""
    objective: str | None = None
    """Sent as x-gateway-inference-objective, by which llm-d's router orders and sheds requests;
    None: not sent."""
    pass_headers: Annotated[tuple[str, ...], *VALUES] = ()
    """Headers of the request that creates a batch, such as authorization, that are sent with the
    calls of the batch. They are stored encrypted until the batch ends."""
    header_keys: SecretStr = SecretStr("")
    """Comma-separated keys that encrypt those headers. The first key encrypts, all decrypt, so keys
    can be rotated. Required with pass_headers."""

    @field_validator("pass_headers")
    @classmethod
    def _passable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(name.lower() for name in names)
        for name in lower:
            if not HEADER.fullmatch(name) or name in NOT_PASSED:
                raise ValueError(f"{name!r} cannot be passed on")
        return lower

    @model_validator(mode="after")
    def _sealed(self) -> "InferenceSettings":
        if self.pass_headers and not self.header_keys.get_secret_value():
            told = "inference.pass_headers needs inference.header_keys"
            raise InconsistentSettings(told, self, "pass_headers", "header_keys")
        return self
