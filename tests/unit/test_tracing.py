"""Trace contexts, and that traces cost nothing while they are off."""

import subprocess
import sys
from pathlib import Path

import pytest

from batch_gateway import traces
from batch_gateway.core import tracing
from batch_gateway.settings import READS

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("a=1 , b@v=2\t,c=3", "a=1,b@v=2,c=3"),
        (" a=1 ", "a=1"),
        ("a/b*c_d-e=!#$&'()*+-./:;<>?@[]^_`{|}~", "a/b*c_d-e=!#$&'()*+-./:;<>?@[]^_`{|}~"),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
    ],
)
def test_a_tracestate_goes_with_its_traceparent(state, kept):
    context = tracing.valid(PARENT, state)

    assert tracing.fields(context) == {"traceparent": PARENT, "tracestate": kept}
    assert tracing.valid(context) == context
    assert tracing.trace_id(context) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "state",
    [
        *("", "a", "A=1", "a=", "a=1,,b=2", 'a="1"', "a=50%", "a=ü", "a=x y", "a=1\r\nX: 1"),
        "a=" + "v" * 600,
        ",".join(f"k{n}=v" for n in range(33)),
    ],
)
def test_a_tracestate_that_is_not_valid_is_left_out(state):
    assert tracing.fields(tracing.valid(PARENT, state)) == {"traceparent": PARENT}


def test_without_a_traceparent_there_is_no_context():
    assert tracing.valid(None, "a=1") is None
    assert tracing.valid("00-zz", "a=1") is None
    assert tracing.fields(None) == {}


def test_an_unsampled_context_keeps_everything_else():
    assert tracing.unsampled(f"{PARENT} a=1") == f"{PARENT[:-2]}00 a=1"
    assert tracing.unsampled(f"{PARENT[:-2]}03") == f"{PARENT[:-2]}02"


def test_a_span_that_is_not_recorded_carries_its_parent_on():
    with traces.span("work", PARENT) as span:
        span.set({"a": 1})

    assert (span.context, span.recorded) == (PARENT, False)


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off():
    code = (
        "import sys, runpy; [runpy.run_path(source) for source in sys.argv[1:]];"
        "import batch_gateway.wiring.executor, batch_gateway.services.execute.executor;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    sources = sorted(map(str, (ROOT / "functions").glob("*/main.py")))

    assert len(sources) == len(READS)
    assert subprocess.run([sys.executable, "-c", code, *sources]).returncode == 0
