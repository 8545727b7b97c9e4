"""Whether a batch will miss its deadline.

What counts is the estimate that its owner sees (``core.throughput``, ``core.completion_estimate``).
Where there is none, because nothing of the batch or its models has been worked on lately, a
straight line must do: the share of the work that is done against the share of the time that is
gone.

Nothing is said before enough of the time is gone: at the beginning of work a limit is still being
felt for, and speeds are not what they will be.
"""

from datetime import datetime, timedelta

from batch_gateway.core.model import Batch

_SETTLED = 0.05  # of the time, until an estimate counts
_TELLING = 0.25  # of the time, until the line means something
_INSTANT = timedelta(microseconds=1)


def is_at_risk(batch: Batch, now: datetime) -> bool:
    """Whether ``batch``, with its live counts and completion estimate, will miss its deadline at
    its present speed."""
    gone = (now - batch.created_at) / max(batch.deadline - batch.created_at, _INSTANT)
    if batch.estimated_completion_at is not None:
        return gone >= _SETTLED and batch.estimated_completion_at > batch.deadline
    if gone < _TELLING:
        return False
    counts = batch.counts
    done = (counts.completed + counts.failed) / counts.total if counts.total else 0.0
    return done < gone
