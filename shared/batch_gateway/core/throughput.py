"""Throughput of batches and models, time needed and urgency, from the reports of executors.

Work is counted in estimated tokens, as shards are, and collected in buckets of five seconds. The
throughput of a batch includes its pauses: newer buckets have more weight, so an estimate covers
half of a change within a minute. The throughput of a model counts only buckets with work.

From the speed follows the time that a batch still needs, and from that and its deadline the instant
from which it is urgent. Nothing is guessed: without reports there is no estimate, and then only the
margin before the deadline makes a batch urgent.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

BUCKET = timedelta(seconds=5)
KEPT = 60  # buckets: five minutes
_HALF_LIFE = timedelta(minutes=1)
_FRESH = timedelta(seconds=5)  # executors report every second
_LEAST_KNOWN = timedelta(seconds=2)  # a shorter time is no basis for an estimate

Buckets = Mapping[int, float]
"""Cost of the lines finished in each bucket, by the bucket's number since 1970."""


def bucket_of(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // BUCKET


class BlockedReason(StrEnum):
    """Why an executor that has lines of a batch cannot send any of them now."""

    NO_SLOTS = "no_slots"  # all slots are others'
    ENGINE_SATURATED = "engine_saturated"  # the endpoint refuses, or a brake holds the limit down
    WAITING_FOR_MODEL = "waiting_for_model"  # the endpoint is away, perhaps at zero
    ENDPOINT_UNAUTHORIZED = "endpoint_unauthorized"  # it refuses the deployment's credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedWork:
    """What one executor has leased of a batch and model and not finished."""

    model: str
    cost: float  # of the lines that are not finished
    blocked: BlockedReason | None = None  # None: some of them are being worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchThroughput:
    """What is known of a batch that is being worked on."""

    since: datetime  # of the first report; older buckets than are kept do not count
    at: datetime  # of the last report
    done: Buckets
    held: tuple[LeasedWork, ...] = ()

    def known_until(self, now: datetime) -> datetime:
        """The instant of the last report; later if reports have ceased."""
        return self.at if now - self.at < _FRESH else now

    def cost_held(self) -> Counter[str]:
        """By model."""
        cost = Counter[str]()
        for one in self.held:
            cost[one.model] += one.cost  # type: ignore[assignment]
        return cost


def speed(pace: BatchThroughput, now: datetime) -> float | None:
    """Cost per second lately; None when too little is known yet, or nothing was finished lately."""
    now = pace.known_until(now)
    newest = bucket_of(now)
    begin = datetime.fromtimestamp(0, UTC) + BUCKET * max(bucket_of(pace.since), newest - KEPT + 1)
    if now - max(begin, pace.since) < _LEAST_KNOWN:
        return None
    done = known_s = 0.0
    for number in range(bucket_of(begin), newest + 1):
        start = datetime.fromtimestamp(0, UTC) + BUCKET * number
        length = min(now, start + BUCKET) - max(start, pace.since)
        weight = 0.5 ** ((newest - number) * BUCKET / _HALF_LIFE)
        done += weight * pace.done.get(number, 0.0)
        known_s += weight * max(0.0, length.total_seconds())
    return done / known_s if done and known_s else None


def time_left(pace: BatchThroughput, cost: float, now: datetime) -> timedelta | None:
    """How long ``cost``, as reported last, takes from now on at the present speed.

    None: the speed is not known.
    """
    known = speed(pace, now)
    if known is None:
        return None
    return max(timedelta(0), timedelta(seconds=cost / known) - (now - pace.known_until(now)))


def speed_at_work(done: Buckets) -> float | None:
    """Cost per second in the buckets that had work; None when there is none.

    The first and the last of them may have been begun late or not be over, so they only count when
    there are no others, or when they show more than the others do.
    """
    if not done:
        return None
    numbers = sorted(done)
    inner = numbers[1:-1] or numbers
    usual = sum(done[number] for number in inner) / len(inner)
    return max(usual, done[numbers[0]], done[numbers[-1]]) / BUCKET.total_seconds()


def time_needed(left: Mapping[str, float], speeds: Mapping[str, float | None]) -> timedelta | None:
    """How long ``left`` (cost by model) takes at ``speeds``, models being worked on side by side.

    None when the speed of a model with work left is not known.
    """
    longest = 0.0
    for model, cost in left.items():
        if cost <= 0:
            continue
        known = speeds.get(model)
        if not known:
            return None
        longest = max(longest, cost / known)
    return timedelta(seconds=longest)


def urgent_after(
    deadline: datetime, needed: timedelta | None, *, margin: timedelta, safety: float
) -> datetime:
    """The time from which a batch is urgent: ``margin`` before its deadline, and earlier by
    ``safety`` times the estimated remaining time ``needed`` (None: unknown)."""
    return deadline - margin - safety * (needed or timedelta(0))
