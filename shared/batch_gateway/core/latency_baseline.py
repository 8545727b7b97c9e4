"""Detects calls that take longer than usual for their work: the brake without metrics or probes.

It is for engines whose queue is not visible: no metrics, no probe. There a call that waits in a
queue is only slow. Lengths differ, so time is counted per unit of work, not per call: an output
token is one unit; a prompt token a fiftieth, because many are read at once; a call as such ten.

*Usual* is the least that was seen lately: it follows every improvement at once and drifts upwards
slowly. Whether slowness is the load's doing is tried out: if calls are no quicker after the limit
was cut several times, the work or the engine has changed, and what is measured is the new usual.
"""

from dataclasses import dataclass, replace

_CALL, _PER_PROMPT_TOKEN = 10.0, 0.02
_LEAST_MS = 0.5  # of a call: reports are in whole milliseconds, and nothing takes none
_MOST_TOKENS = 100_000_000  # of a call; more are ignored
_DRIFT = 1.01  # of what is usual, per round trip
_VAIN = 6  # cuts without effect: about half of the limit
_EFFECT = 0.9  # quicker than that share of before is one


def work_units(prompt_tokens: int, output_tokens: int) -> float:
    """How much work one call is."""
    prompt, output = min(prompt_tokens, _MOST_TOKENS), min(output_tokens, _MOST_TOKENS)
    return _CALL + prompt * _PER_PROMPT_TOKEN + output


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyBaseline:
    """Milliseconds per unit of work."""

    usual: float | None = None  # None: nothing was seen yet; in milliseconds per unit of work
    now: float = 0.0  # of about the last round trip
    calls: float = 0.0  # since it was last judged
    cuts: int = 0  # in a row
    before: float = 0.0  # ``now`` when the first of them was made

    @property
    def slower(self) -> float:
        """How many times as long as usual calls take now."""
        return self.now / self.usual if self.usual else 1.0

    def after(self, calls: int, busy_ms: float, work: float, limit: float) -> "LatencyBaseline":
        """What is known after ``calls`` have ended that took ``busy_ms`` together."""
        if not calls or not work:
            return self
        round_trips = min(1.0, calls / max(1.0, limit))
        sample = max(busy_ms, _LEAST_MS * calls) / work
        now = self.now + (sample - self.now) * round_trips if self.usual else sample
        usual = min(now, self.usual * _DRIFT**round_trips) if self.usual else now
        return replace(self, usual=usual, now=now, calls=self.calls + calls)

    def judged(self, limit: float, tolerance: float) -> "tuple[LatencyBaseline, bool]":
        """Whether to cut now because calls take ``tolerance`` times as long as usual.

        At most once per round trip: an earlier cut must have been able to show.
        """
        if self.calls < int(limit):
            return self, False
        fresh = replace(self, calls=0.0)
        if self.slower < tolerance:
            return replace(fresh, cuts=0), False
        if self.cuts >= _VAIN and self.now > _EFFECT * self.before:
            return replace(fresh, usual=self.now, cuts=0), False
        before = self.now if not self.cuts else self.before
        return replace(fresh, cuts=self.cuts + 1, before=before), True
