"""Recent history of a pool: its limit and its calls in flight."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

#: How far apart samples of a pool are while an executor calls it.
SAMPLE_EVERY = timedelta(seconds=10)

_PAUSE = 3 * SAMPLE_EVERY  # executors report once a second, so without samples none called


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSample:
    at: datetime
    limit: float
    in_flight: int  # calls of all executors


def with_pauses(samples: Sequence[PoolSample]) -> list[PoolSample]:
    """``samples`` of a pool by time, with two more wherever no executor called it: no calls were in
    flight from soon after the sample before until shortly before the one after."""
    found: list[PoolSample] = []
    for sample in samples:
        if found and sample.at - found[-1].at > _PAUSE:
            last = found[-1]
            found.append(replace(last, at=last.at + SAMPLE_EVERY, in_flight=0))
            found.append(replace(sample, at=sample.at - SAMPLE_EVERY, in_flight=0))
        found.append(sample)
    return found
