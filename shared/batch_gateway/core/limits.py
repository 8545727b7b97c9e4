"""The controller: how many calls a pool may have in flight, as a pure fold over what was seen.

Vocabulary of Netflix' concurrency-limits: an outcome is a *success*, *ignored* (the request's own
fault) or *dropped* (overload: 429, 503, time-out, connection error). The limit starts small and
doubles per round trip until the first drop, then grows additively; trouble cuts it a little, at
once and repeatedly, never by half. The limit grows only while it is used, so an idle pool does
not run away. What was learned is kept between batches.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one or several holders saw in the same interval. Add them up with ``+``."""

    successes: int = 0
    dropped: int = 0
    ignored: int = 0
    in_flight: int = 0  # calls running now
    brake: str | None = None  # a further signal that says "too much", by name; None: none acts

    def __add__(self, other: "Observation") -> "Observation":
        return Observation(
            successes=self.successes + other.successes,
            dropped=self.dropped + other.dropped,
            ignored=self.ignored + other.ignored,
            in_flight=self.in_flight + other.in_flight,
            brake=self.brake or other.brake,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRules:
    """Bounds and speeds of the controller; settings say why each value is what it is."""

    floor: int = 1
    ceiling: int = 256
    start: int = 8
    cut: float = 0.9  # factor per fold with trouble
    step: float = 1.0  # slots added per round trip once slow start is over

    def __post_init__(self) -> None:
        if not 1 <= self.floor <= self.ceiling:
            raise ValueError("a pool's floor must be at least 1 and not above its ceiling")
        if not 0 < self.cut < 1:
            raise ValueError("the cut must be a factor between 0 and 1")
        if not self.step > 0:
            raise ValueError("the step must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a pool has learned."""

    limit: float
    slow_start: bool = True
    last_brake: str | None = None  # what cut the limit last; None: nothing ever did


def initial(rules: LimitRules) -> LimitState:
    return LimitState(limit=_bounded(rules.start, rules))


def slots(state: LimitState) -> int:
    """The limit as a number of slots, at least 1."""
    return max(1, int(state.limit))


def fold(state: LimitState, seen: Observation, rules: LimitRules) -> LimitState:
    """The state after ``seen``, within the bounds even if they have moved.

    Growth is spread over the successes of one round trip (as many as the limit), so it does not
    depend on how often it is folded. One fold adds at most one round trip's growth, however many
    short calls it saw: all of them ran under the old limit and prove nothing about a higher one.
    """
    if seen.dropped or seen.brake:
        return LimitState(
            limit=_bounded(min(state.limit * rules.cut, state.limit - 1.0), rules),
            slow_start=False,
            last_brake=seen.brake or "dropped",
        )
    growth = 0.0
    if 2 * seen.in_flight >= slots(state):
        step = state.limit if state.slow_start else rules.step
        growth = step * min(1.0, seen.successes / state.limit)
    return LimitState(
        limit=_bounded(state.limit + growth, rules),
        slow_start=state.slow_start,
        last_brake=state.last_brake,
    )


def _bounded(limit: float, rules: LimitRules) -> float:
    return min(max(float(limit), float(rules.floor)), float(rules.ceiling))
