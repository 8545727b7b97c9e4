"""Estimates when a running batch completes, and finds what blocks it.

An estimate is the work that is left divided by the batch's own speed lately. Calendars count: time
in which the endpoints take no calls does not, time in which they take fewer counts less; that they
may take more later promises nothing. What cannot be known is None.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch_gateway.core.model import Batch, BatchBlockedReason, BatchStatus
from batch_gateway.core.throughput import BatchThroughput, BlockedReason

_FARTHEST = timedelta(days=60)
_RECENT = timedelta(seconds=30)  # after that a brake explains nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """What counts of a pool of slots."""

    model: str
    full: bool  # all its slots are in use or granted
    braked_at: datetime | None  # None: nothing ever lowered its limit


def blocked_reason(
    batch: Batch,
    pace: BatchThroughput | None,
    *,
    left: Mapping[str, float],
    shut: Callable[[str], bool],
    pools: Iterable[PoolUsage],
    now: datetime,
    models_blocked: Mapping[str, BlockedReason] | None = None,
) -> BatchBlockedReason | None:
    """None: the batch is not running, is being worked on, or it is not known what it waits for.

    ``left`` is the cost of all its open work by model; ``shut``: whether a calendar allows no
    call of a model. ``models_blocked`` names models that no executor can call, including executors
    that hold none of this batch's shards. The entry stays until a call is answered, so the reason
    stays as long as the cause does.
    """
    if batch.status is not BatchStatus.IN_PROGRESS or batch.ending is not None:
        return None
    if batch.paused:
        return BatchBlockedReason.PAUSED
    models = [model for model, cost in left.items() if cost > 0]
    if models and all(shut(model) for model in models):
        return BatchBlockedReason.OFF_PEAK
    known = models_blocked or {}
    reasons = [known.get(name) for name in models or [batch.model or ""]]
    if BlockedReason.ENDPOINT_UNAUTHORIZED in reasons and None not in reasons:
        return BatchBlockedReason.ENDPOINT_UNAUTHORIZED
    if None not in reasons:
        return BatchBlockedReason.WAITING_FOR_MODEL
    held = [one for one in (pace.held if pace else ()) if one.cost > 0]
    if any(one.blocked is None for one in held):
        return None
    of_models = [pool for pool in pools if pool.model in models]
    braked = any(pool.braked_at and now - pool.braked_at < _RECENT for pool in of_models)
    if any(one.blocked is BlockedReason.ENDPOINT_UNAUTHORIZED for one in held):
        return BatchBlockedReason.ENDPOINT_UNAUTHORIZED
    if any(one.blocked is BlockedReason.WAITING_FOR_MODEL for one in held):
        return BatchBlockedReason.WAITING_FOR_MODEL
    if any(one.blocked is BlockedReason.ENGINE_SATURATED for one in held):
        return BatchBlockedReason.ENGINE_SATURATED
    if held or (of_models and all(pool.full for pool in of_models)):
        return BatchBlockedReason.ENGINE_SATURATED if braked else BatchBlockedReason.NO_SLOTS
    return None


def completes_at(
    now: datetime,
    needed: timedelta,
    *,
    ceiling: Callable[[datetime], int],
    next_change: Callable[[datetime], datetime | None],
) -> datetime | None:
    """When work is done that takes ``needed`` at the present speed, if ``ceiling`` calls are
    allowed at an instant and change next at ``next_change``. None: not in the foreseeable future.
    """
    usual = ceiling(now)
    at = now
    while at - now < _FARTHEST:
        allowed = ceiling(at)
        share = min(1.0, allowed / usual) if usual else float(allowed > 0)
        change = next_change(at)
        if share and (change is None or needed <= share * (change - at)):
            return at + needed / share
        if change is None:
            return None
        needed -= share * (change - at)
        at = change
    return None
