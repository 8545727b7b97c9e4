"""Whether a batch will miss its deadline.

It is decided by the estimate that the batch's owner receives (``core.throughput``,
``core.completion_estimate``). Without an estimate, because nothing of the batch or its models has
been worked on lately, a straight line is used: the share of the work that is done against the
share of the time that has passed.

No risk is reported before enough of the time has passed: at the beginning of the work the limit is
still adjusting, and throughput is not yet steady.
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
