"""How models are called: how many calls at once, how often again, and where."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from batch_gateway.core.engine_signals import MonitorRules
from batch_gateway.core.limits import LimitRules
from batch_gateway.core.retry import RetryRules
from batch_gateway.settings.base import Count, Group, Positive, Seconds
from batch_gateway.settings.endpoints import HEADER
from batch_gateway.settings.texts import VALUES

#: What every call says for itself.
NOT_PASSED = frozenset(
    {"connection", "content-length", "content-type", "host", "transfer-encoding", "x-request-id"}
)


class Limits(Group):
    start: Positive = 8
    """Slots of a pool that nothing is known of yet."""
    floor: Count = 0
    """Slots that a pool keeps although its engine is full. 0: batch work stops while interactive
    users wait, and goes on as soon as there is room. Without a watch one slot is kept."""
    ceiling: Positive = 256
    """Slots of a pool at most."""
    total: Positive | None = None
    """Slots of all pools together, over all executors; None: no such bound."""
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Factor by which drops lower a limit, at each controller interval that sees some; at least
    as many slots as calls were dropped. 0.9 costs a twentieth of an overloaded endpoint's use."""
    step: Annotated[float, Field(gt=0)] = 0.5
    """Slots that a round trip without trouble adds: how often an endpoint that is full must refuse
    a call."""
    slower: Annotated[float, Field(gt=1)] = 1.5
    """Calls that take this many times their usual duration are assumed to wait in an engine queue.
    Used only without metrics and probes."""
    interval_s: Seconds = 0.2
    """How often a pool's limit is reconsidered."""
    half_life_s: Seconds = 3600
    """An idle pool's limit goes back to that of an unknown one, by half of the way in this time:
    what was learned yesterday evening may be wrong in the morning."""

    @property
    def rules(self) -> LimitRules:
        return LimitRules(
            floor=self.floor,
            ceiling=self.ceiling,
            start=self.start,
            cut=self.cut,
            step=self.step,
            slower=self.slower,
            half_life=timedelta(seconds=self.half_life_s),
        )


class Watching(Group):
    metrics: bool = True
    """Whether engines' metrics are read where they can be."""
    interval_s: Seconds = 0.2
    """How often. Metrics that are a second old have lost a fifth of their worth."""
    stale_s: Seconds = 1.0
    """Older metrics are no reason to send more."""
    keep_free: Count = 1
    """Slots of an engine that are left for the next interactive request."""
    cache_full: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of an engine's KV cache from which on it gets no more: beyond, it preempts."""
    probe: bool = True
    """Whether engines without metrics are probed: a one-token request each time, never more than
    one open. Only while batch work runs there."""
    probe_interval_s: Seconds = 0.25
    """How often."""
    probe_wait_ms: Annotated[float, Field(gt=0)] = 50
    """By how much a probe may be slower than it usually is, and how long an engine's queue may
    last; beyond, interactive users wait."""
    probe_cut: Positive = 3
    """Slots that a pool gives up at each look that finds a probe still waiting. At the first it is
    one: most queues are gone with the next call that ends."""
    probe_step: Positive = 1
    """Slots that each probe adds which was answered in time; three times as many when there was no
    trouble for two seconds."""
    abort: bool = True
    """Whether the youngest calls are aborted when a pool must give up slots for interactive users;
    their lines are sent again later."""
    abort_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Most slot time of an executor that may be lost to that."""
    calm_s: Seconds = 5.0
    """How long no user must have waited before aborted lines are sent again; the rest of the work
    goes on. They wait for a minute at most."""
    abort_times: Positive = 3
    """How often a line is aborted at most; then it is left in peace."""

    @property
    def rules(self) -> MonitorRules:
        return MonitorRules(
            keep_free=self.keep_free,
            stale=timedelta(seconds=self.stale_s),
            full=self.cache_full,
            wait=timedelta(milliseconds=self.probe_wait_ms),
            cut=self.probe_cut,
            step=self.probe_step,
        )


class Retry(Group):
    attempts: Positive = 5
    """Most calls for one request line that ended in a fault that may be its own (time-out,
    broken connection, broken answer). An endpoint that is full or away never counts."""
    backoff_s: Seconds = 0.5
    """Pause before the second attempt; doubles from there, with jitter."""
    backoff_max_s: Seconds = 60
    """Longest pause; a longer Retry-After is honoured up to this."""
    budget: Annotated[float, Field(ge=0)] = 1.0
    """Most further attempts of a batch, as a share of its lines, kept shard by shard: an endpoint
    that breaks every answer costs a batch twice its work and not five times. A few are always
    allowed."""

    @property
    def rules(self) -> RetryRules:
        return RetryRules(
            attempts=self.attempts,
            first=timedelta(seconds=self.backoff_s),
            longest=timedelta(seconds=self.backoff_max_s),
            budget=self.budget,
        )


class Inference(Group):
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
    """Routing file: several endpoints, replicas, aliases and calendars; it takes the place of url,
    api_key, timeout_s and models, and is read again when it changes. None: all are at url."""
    objective: str | None = None
    """Sent as x-gateway-inference-objective, by which llm-d's router orders and sheds requests;
    None: not sent."""
    pass_headers: Annotated[tuple[str, ...], *VALUES] = ()
    """Headers of the request that creates a batch which its calls of the model carry on, such as
    authorization. They are kept sealed in the batch's row until it ends."""
    header_keys: SecretStr = SecretStr("")
    """Comma-separated keys that those headers are sealed under; the first seals, all open, so keys
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
    def _sealed(self) -> "Inference":
        if self.pass_headers and not self.header_keys.get_secret_value():
            raise ValueError("inference.pass_headers needs inference.header_keys")
        return self
