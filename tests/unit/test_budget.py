from datetime import UTC, datetime

import pytest

from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import Batch, BatchStatus, LineCounts, TokenUsage
from batch_gateway.services.execute.budget import BatchBudget

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = Batch(
    id=BatchId("batch_1"),
    tenant=TenantId("t"),
    status=BatchStatus.IN_PROGRESS,
    endpoint="/v1/embeddings",
    input_file_id=FileId("file-1"),
    completion_window="24h",
    deadline=NOW,
    created_at=NOW,
    counts=LineCounts(total=100, completed=20, failed=10),
    usage=TokenUsage(input_tokens=60, output_tokens=40, reasoning_tokens=7, cached_tokens=9),
)


@pytest.mark.parametrize(
    "options",
    [{}, {"max_errors": 10}, {"max_error_rate": 0.1}, {"max_total_tokens": 100}],
    ids=str,
)
def test_what_is_within_the_budget_goes_on(options):
    assert BatchBudget.of(options).broken(BATCH) is None


@pytest.mark.parametrize(
    "options",
    [{"max_errors": 9}, {"max_errors": 0}, {"max_error_rate": 0.09}, {"max_total_tokens": 99}],
    ids=str,
)
def test_what_is_beyond_it_is_named(options):
    [name] = options

    error = BatchBudget.of(options).broken(BATCH)

    assert (error.code, error.param) == (f"{name}_exceeded", name)


def test_a_batch_without_an_answer_has_used_no_token():
    assert BatchBudget(max_total_tokens=0).broken(BATCH.evolve(usage=None)) is None
