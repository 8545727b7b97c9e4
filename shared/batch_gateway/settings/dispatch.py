"""How models are called: how many calls at once, how often again, and where."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from batch_gateway.core.limits import LimitRules
from batch_gateway.core.retry import RetryRules
from batch_gateway.settings.base import Group, Positive, Seconds


class Limits(Group):
    start: Positive = 8
    """Slots of a pool that nothing is known of yet."""
    floor: Positive = 1
    """Slots that are left whatever happens."""
    ceiling: Positive = 256
    """Slots of a pool at most."""
    total: Positive | None = None
    """Slots of all pools together, over all executors; None: no such bound."""
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Factor by which trouble lowers a limit, at each controller interval that sees some."""
    step: Annotated[float, Field(gt=0)] = 1.0
    """Slots that a round trip without trouble adds."""
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
            half_life=timedelta(seconds=self.half_life_s),
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
    models: tuple[str, ...] = ()
    """Models that requests may name; empty: any."""
    routes: Path | None = None
    """Routing file: several endpoints, replicas, aliases and calendars; it takes the place of url,
    api_key, timeout_s and models, and is read again when it changes. None: all are at url."""
    objective: str | None = None
    """Sent as x-gateway-inference-objective, by which llm-d's router orders and sheds requests;
    None: not sent."""
