"""That what is answered of a batch is what its class describes."""

from dataclasses import replace

import pytest
from fixtures.metadata import a_batch

from batch_gateway.core.model import BatchBlockedReason, BatchError, LineCounts, TokenUsage
from batch_gateway.web.api.routing import answer
from batch_gateway.web.extensions import ExtendedBatchObject
from batch_gateway.web.openai import BatchObject, listed

NEW = a_batch()
FULL = replace(
    NEW,
    counts=LineCounts(total=3, completed=2, failed=1),
    usage=TokenUsage(input_tokens=7, cached_tokens=1, output_tokens=5, reasoning_tokens=2),
    errors=(BatchError(code="empty_file", message="«nothing»", line=3),),
    metadata={"team": "été"},
    in_progress_at=NEW.created_at,
    estimated_completion_at=NEW.deadline,
    blocked_reason=BatchBlockedReason.PAUSED,
    options={
        "on_invalid_line": "skip",
        "dry_run": True,
        "estimated_tokens": {"m": 12},
        "estimated_cost": {"value": "0.00125", "currency": "EUR"},
        "max_errors": 4,
        "max_error_rate": 0.25,
        "max_cost": 5.0,
        "deduplicate": True,
        "saved_tokens": 9,
        "retry": {"batch": "batch_1"},
        "after": {"batch_id": "batch_2", "template": {}},
        "carried_over": 6,
    },
)


@pytest.mark.parametrize("batch", [NEW, FULL], ids=["new", "full"])
@pytest.mark.parametrize("described", [BatchObject, ExtendedBatchObject])
def test_a_batch_is_answered_as_it_is_described(described, batch):
    content = answer(described.fields(batch)).body

    assert described.model_validate_json(content).model_dump_json() == content.decode()


def test_a_list_names_its_first_and_last():
    a, b = ({"id": name} for name in ("a", "b"))

    assert listed([a, b], more=True) == {
        "object": "list",
        "data": [a, b],
        "first_id": "a",
        "last_id": "b",
        "has_more": True,
    }
    assert listed([], more=False) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
