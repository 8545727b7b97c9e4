"""Reports: of any batch, within 80 columns, and with nothing of it taken for HTML."""

import pytest

from batch_gateway.cli.report.content import Report
from batch_gateway.cli.report.page import page
from batch_gateway.cli.report.text import drawn, lines

COUNTS = {"total": 40, "completed": 38, "failed": 2}
USAGE = {
    "input_tokens": 4000,
    "input_tokens_details": {"cached_tokens": 3000},
    "output_tokens": 100,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 4100,
}
BATCH = {
    "id": "batch_1",
    "status": "completed",
    "request_counts": COUNTS,
    "usage": USAGE,
    "created_at": 1_000,
    "in_progress_at": 1_010,
    "finalizing_at": 1_030,
    "completed_at": 1_031,
}
LATENCY = {"count": 38, "mean_ms": 5.0, "p50_ms": 4, "p90_ms": 9, "p95_ms": 10, "p99_ms": 20_000}
ANALYTICS = {
    "phases": [
        {"name": "in_progress", "started_at": 1_010, "ended_at": 1_030, "duration_s": 20.0},
    ],
    "timeline": {
        "interval_s": 60,
        "points": [
            {"start_time": 960, "completed": 30, "failed": 2},
            {"start_time": 1140, "completed": 8, "failed": 0},
        ],
    },
    "latency": {"call": LATENCY, "first_token": LATENCY | {"count": 0}},
    "retries": [{"reason": "http_429", "count": 7}],
    "aborts": [],
    "errors": [
        {"code": "<b>", "count": 2, "example": {"line": 3, "message": "<script>" + "long " * 50}}
    ],
    "models": [
        {"model": "m" * 90, "request_counts": COUNTS, "usage": USAGE, "cost": None},
    ],
    "cost": {"value": "0.5", "currency": "USD"},
}


@pytest.mark.parametrize("analytics", [ANALYTICS, None], ids=["measured", "bare"])
def test_a_text_fits_80_columns_and_has_what_is_known(analytics):
    told = list(lines(Report(BATCH, analytics)))

    assert max(map(len, told)) <= 80
    assert told[1] == "completed: 38 of 40 requests succeeded, 2 failed"
    rows = [line.split() for line in told]
    assert ["requests", "40", "2.0"] in rows
    assert ["of", "these", "from", "the", "prefix", "cache", "3,000", "75.0%"] in rows
    assert (["http_429", "7"] in rows) is (analytics is not None)
    assert (["call", "38", "5", "ms", "4", "ms", "9", "ms", "10", "ms", "20.0", "s"] in rows) is (
        analytics is not None
    )


def test_intervals_in_which_nothing_ended_are_drawn_too():
    points = [point["completed"] for point in Report(BATCH, ANALYTICS).timeline()]

    assert points == [30, 0, 0, 8]
    assert drawn(points, 80) == "█  ▃"
    assert len(drawn(list(range(1000)), 76)) <= 76


def test_no_text_of_a_batch_is_taken_for_html():
    shown = page(Report(BATCH, ANALYTICS))

    assert "<script>" not in shown
    assert "&lt;b&gt;" in shown
    assert shown.count("<rect") == 3
    assert "http://" not in shown
    assert "https://" not in shown
