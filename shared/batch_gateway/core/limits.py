"""The controller: how many calls a pool may have in flight, as a pure fold over what was seen.

Vocabulary of Netflix' concurrency-limits: an outcome is a *success*, *ignored* (the request's own
fault) or *dropped* (overload: 429, 503, time-out, connection error). The limit starts small and
doubles per round trip until the first drop, then grows additively; trouble cuts it a little, at
once and repeatedly, never by half. The limit grows only while it is used, so an idle pool does
not run away. What was learned is kept between batches.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one or several holders saw since the last fold. Add them up with ``+``."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a pool has learned."""

    limit: float
    slow_start: bool = True
    last_brake: str | None = None  # what cut the limit last; None: nothing ever did


def initial(rules: LimitRules) -> LimitState:
    return LimitState(limit=float(min(max(rules.start, rules.floor), rules.ceiling)))


def slots(state: LimitState) -> int:
    """The limit as a number of slots, at least 1."""
    return max(1, int(state.limit))


def fold(state: LimitState, seen: Observation, rules: LimitRules) -> LimitState:
    """The state after ``seen``.

    Additive growth is spread over the successes of one round trip (limit successes add one
    step), so it does not depend on how often it is folded.
    """
    if seen.dropped or seen.brake:
        return replace(
            state,
            limit=max(float(rules.floor), min(state.limit * rules.cut, state.limit - 1.0)),
            slow_start=False,
            last_brake=seen.brake or "dropped",
        )
    used = seen.in_flight + seen.successes >= state.limit / 2
    if not seen.successes or not used:
        return replace(state, limit=min(state.limit, float(rules.ceiling)))
    growth = (
        float(seen.successes) if state.slow_start else rules.step * seen.successes / state.limit
    )
    return replace(state, limit=min(float(rules.ceiling), state.limit + growth))
