"""The states of one leased shard, and the allowed transitions.

    OPENING ──> RUNNING ──> DRAINING ──> CLOSING ──> ENDED
       │           │            │           │
       │           └────────────┼──> CLOSING (all lines have results)
       ├──> DRAINING, CLOSING   │           │
       └───────────┴────────────┴───────────┴──────> LOST

OPENING, RUNNING, DRAINING and CLOSING hold the lease: it is renewed. ENDED and LOST are final.
"""

from enum import StrEnum


class LeaseState(StrEnum):
    OPENING = "opening"  # the shard's lines and earlier results are being read
    RUNNING = "running"  # lines are started
    DRAINING = "draining"  # no line is started; running calls finish or are cancelled
    CLOSING = "closing"  # no call runs; the shard is being finished or handed back
    ENDED = "ended"  # finished or handed back, or left to expire
    LOST = "lost"  # another executor has the shard, or it was closed by another


S = LeaseState

TRANSITIONS: dict[LeaseState, frozenset[LeaseState]] = {
    S.OPENING: frozenset({S.RUNNING, S.DRAINING, S.CLOSING, S.LOST}),
    S.RUNNING: frozenset({S.DRAINING, S.CLOSING, S.LOST}),
    S.DRAINING: frozenset({S.CLOSING, S.LOST}),
    S.CLOSING: frozenset({S.ENDED, S.LOST}),
    S.ENDED: frozenset(),
    S.LOST: frozenset(),
}

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""States in which the activation no longer holds the lease."""


class IllegalTransition(ValueError):
    """A transition that ``TRANSITIONS`` does not allow: a defect of the executor."""


def moved(state: LeaseState, to: LeaseState) -> LeaseState:
    """``to``. Raises IllegalTransition when a shard in ``state`` cannot enter it."""
    if to not in TRANSITIONS[state]:
        raise IllegalTransition(f"a leased shard cannot go from {state} to {to}")
    return to
