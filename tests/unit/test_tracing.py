import pytest

from batch_gateway.core import tracing

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_context_is_recognized():
    assert tracing.valid(TRACE) == TRACE
    assert tracing.trace_id(TRACE) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "crooked",
    [
        None,
        "",
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "-more",
        "01" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
    ],
)
def test_what_is_no_trace_context_is_dropped(crooked):
    assert tracing.valid(crooked) is None


def test_a_fresh_trace_is_a_valid_one():
    assert tracing.valid(tracing.fresh(bytes(range(1, 25))))
