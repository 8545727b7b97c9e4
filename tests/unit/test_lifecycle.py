from datetime import UTC, datetime, timedelta

import pytest
from fixtures.metadata import T0, a_batch

from batch_gateway.core.events import EventType, signature
from batch_gateway.core.lifecycle import (
    at_risk_event,
    lifecycle_event,
    progress_event,
    step_reached,
    terminal_event,
)
from batch_gateway.core.model import BatchError, BatchStatus, LineCounts

MINUTE = timedelta(minutes=1)


def test_a_fact_says_the_same_however_late_it_is_told():
    new = a_batch(metadata={"a": "b"})
    done = new.evolve(
        status=BatchStatus.COMPLETED,
        model="m",
        counts=LineCounts(total=3, completed=2, failed=1),
        in_progress_at=T0 + MINUTE,
        finalizing_at=T0 + 2 * MINUTE,
        completed_at=T0 + 3 * MINUTE,
    )
    running = new.evolve(
        status=BatchStatus.IN_PROGRESS,
        model="m",
        counts=LineCounts(total=3),
        in_progress_at=T0 + MINUTE,
    )

    assert lifecycle_event(EventType.BATCH_CREATED, done) == lifecycle_event(
        EventType.BATCH_CREATED, new
    )
    assert lifecycle_event(EventType.BATCH_IN_PROGRESS, done) == lifecycle_event(
        EventType.BATCH_IN_PROGRESS, running
    )


def test_an_end_tells_counts_files_and_the_first_reason():
    failed = a_batch(
        status=BatchStatus.FAILED,
        failed_at=T0 + MINUTE,
        errors=(BatchError(code="invalid_json_line", message="no", line=3),),
        options={"retry": {"batch": "batch_0"}, "after": {"batch_id": "batch_9", "template": {}}},
    )

    event = terminal_event(failed)

    assert (event.id, event.time) == (f"{failed.id}/failed", T0 + MINUTE)
    assert event.data["reason"] == {"code": "invalid_json_line", "message": "no", "line": 3}
    assert (event.data["retry_of"], event.data["after"]) == ("batch_0", "batch_9")
    assert event.data["output_file_id"] is None


def test_steps_of_progress_and_risk_have_ids_of_their_own():
    batch, now = a_batch(), datetime(2026, 3, 2, tzinfo=UTC)

    assert progress_event(batch, 30, now).id == f"{batch.id}/progress/30"
    assert progress_event(batch, 30, now).data["percent"] == 30
    assert at_risk_event(batch, now).id == f"{batch.id}/at_risk"


@pytest.mark.parametrize(
    ("counts", "step"),
    [
        (LineCounts(), 0),
        (LineCounts(total=10), 0),
        (LineCounts(total=11, completed=1), 0),
        (LineCounts(total=10, completed=1), 10),
        (LineCounts(total=1000, completed=300, failed=99), 30),
        (LineCounts(total=3, completed=3), 100),
    ],
)
def test_a_step_is_reached_when_it_is_complete(counts, step):
    assert step_reached(counts) == step


def test_the_signature_does_not_depend_on_the_order_of_nested_keys():
    event = terminal_event(
        a_batch(status=BatchStatus.EXPIRED, expired_at=T0, metadata={"a": "1", "b": "2"})
    )
    turned = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(event.data.items())
    }
    from dataclasses import replace

    assert signature(b"k", replace(event, data=turned)) == signature(b"k", event)
