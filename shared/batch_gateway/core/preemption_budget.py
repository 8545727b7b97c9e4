"""Bounds how much slot time preemption may waste.

An aborted call is slot time without a result. It may be a share of all slot time and no more;
what was long ago counts less and less, so a good hour buys no bad minute.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

_HALF_LIFE = timedelta(minutes=10)
_CREDIT_S = 60.0  # slot seconds that are taken as done well before anything is


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionBudget:
    """Slot seconds of the recent past."""

    useful_s: float = _CREDIT_S
    wasted_s: float = 0.0

    def affords(self, seconds: float, share: float) -> bool:
        """Whether ``seconds`` more may be thrown away where ``share`` (0..1) of all may be."""
        return self.wasted_s + seconds <= share * (self.useful_s + self.wasted_s + seconds)

    def used(self, seconds: float) -> "PreemptionBudget":
        return PreemptionBudget(useful_s=self.useful_s + seconds, wasted_s=self.wasted_s)

    def wasted(self, seconds: float) -> "PreemptionBudget":
        return replace(self, wasted_s=self.wasted_s + seconds)

    def after(self, passed: timedelta) -> "PreemptionBudget":
        kept = 0.5 ** (passed / _HALF_LIFE)
        return PreemptionBudget(useful_s=self.useful_s * kept, wasted_s=self.wasted_s * kept)
