"""Whether a batch will miss its deadline, by what can be told without a model of the engines.

A straight line: the share of the work that is done against the share of the time that is gone.
Nothing is said before enough of the time is gone for the line to mean something.
"""

from datetime import datetime, timedelta

from batch_gateway.core.model import Batch

_TELLING = 0.25  # of the time
_INSTANT = timedelta(microseconds=1)


def late(batch: Batch, now: datetime) -> bool:
    """Whether ``batch``, with its live counts, will be late if it goes on as it has."""
    gone = (now - batch.created_at) / max(batch.deadline - batch.created_at, _INSTANT)
    if gone < _TELLING:
        return False
    counts = batch.counts
    done = (counts.completed + counts.failed) / counts.total if counts.total else 0.0
    return done < gone
