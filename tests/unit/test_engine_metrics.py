"""Which lines of an exposition count, and for whom."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.adapters.engine_metrics import parse
from batch_gateway.core.engine_signals import (
    CapacityEstimate,
    EngineReading,
    engine_signal,
)
from batch_gateway.settings import EngineMonitorSettings

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 30.0
vllm:num_requests_running{engine="0",model_name="other"} 2.0
vllm:num_requests_waiting{engine="0",model_name="llama"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="llama",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.83
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="llama"} 12.0
"""
SGLANG = """\
sglang:num_running_reqs{model_name="m",tp_rank="0"} 7
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 2
sglang:token_usage{model_name="m",tp_rank="0"} 0.28
"""
LLM_D = """\
llm_d_epp_average_running_requests{name="pool"} 12.5
llm_d_epp_average_queue_size{name="pool"} 0.5
llm_d_epp_average_kv_cache_utilization{name="pool"} 0.4
llm_d_epp_flow_control_queue_size{fairness_id="a",inference_pool="pool",priority="0"} 3
llm_d_epp_flow_control_queue_size{fairness_id="b",inference_pool="pool",priority="-1"} 1
llm_d_epp_flow_control_pool_saturation{inference_pool="pool"} 1.1
"""
OLDER = LLM_D.replace("llm_d_epp_flow_control", "inference_extension_flow_control").replace(
    "llm_d_epp_average", "inference_pool_average"
)
DATA_PARALLEL = """\
vllm:num_requests_running{engine="0",model_name="m"} 3
vllm:num_requests_running{engine="1",model_name="m"} 4
vllm:num_requests_waiting{engine="0",model_name="m"} 0
vllm:num_requests_waiting{engine="1",model_name="m"} 1
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.2
vllm:gpu_cache_usage_perc{engine="1",model_name="m"} 0.6
"""
ODD = """\
vllm:num_requests_running{name="a}b\\"c",model_name="m"} 1e300
vllm:num_requests_waiting{engine="0",model_name="m"} +Inf
vllm:num_requests_waiting{engine="}",model_name="m"} 4 1700000000000
vllm:num_requests_waiting{engine="1",model_name="m"} -3
vllm:num_requests_waiting{engine="2",model_name="m"} NaN
vllm:num_requests_waiting{engine="3,model_name="m" 9
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 97
"""


@pytest.mark.parametrize(
    ("text", "model", "reading"),
    [
        (VLLM, "llama", EngineReading(running=30, waiting=4, cache=0.83)),
        (VLLM, "an-adapter", EngineReading(running=32, waiting=4, cache=0.83)),
        (SGLANG, "m", EngineReading(running=7, waiting=2, cache=0.28)),
        (LLM_D, "m", EngineReading(running=12.5, waiting=4.5, cache=0.4, saturation=1.1)),
        (OLDER, "m", EngineReading(running=12.5, waiting=4.5, cache=0.4, saturation=1.1)),
        (DATA_PARALLEL, "m", EngineReading(running=7, waiting=1, cache=0.4)),
        (ODD, "m", EngineReading(running=1e9, waiting=4, cache=1.0)),
        ("tgi_queue_size 3\ntgi_batch_current_size 8\n", "m", EngineReading(running=8, waiting=3)),
        (
            "llamacpp:requests_processing 4\nllamacpp:requests_deferred 1\n",
            "m",
            EngineReading(running=4, waiting=1),
        ),
        ("python_info 1\n", "m", None),
        ("", "m", None),
        ("vllm:num_requests_waiting NaN\n", "m", None),
        ("<html>vllm:num_requests_waiting 3</html>", "m", None),
    ],
    ids=[
        *("vllm", "a name that no metric has", "sglang", "llm-d", "its names before"),
        *(
            "several engines",
            "odd values",
            "tgi",
            "llama.cpp",
            "others",
            "nothing",
            "never set",
            "a web page",
        ),
    ],
)
def test_engines_and_routers_are_understood(text, model, reading):
    assert parse(text, model) == reading


@given(
    st.lists(
        st.sampled_from(["vllm:num_requests_waiting", "vllm:num_requests_running", "{", "}", '"'])
        | st.sampled_from(
            [" ", "\n", "+Inf", "-Inf", "NaN", "1e999", "-1", "\\", 'model_name="m"', ","]
        )
        | st.text(max_size=3),
        max_size=40,
    ).map("".join)
)
def test_whatever_metrics_say_what_comes_of_them_can_be_calculated_with(text):
    reading = parse(text, "m")

    if reading is not None:
        assert 0 <= reading.waiting < float("inf")
        signal = engine_signal(
            reading, timedelta(0), CapacityEstimate(most=8), EngineMonitorSettings()
        )
        assert signal.room is None or isinstance(signal.room, int)


def test_one_full_rank_of_several_does_not_brake_and_all_of_them_do():
    one = DATA_PARALLEL.replace("0.6", "0.97").replace("0.2", "0.1").replace("} 1", "} 0")
    every = one.replace("0.1", "0.96")

    assert (
        engine_signal(
            parse(one, "m"), timedelta(0), CapacityEstimate(most=9), EngineMonitorSettings()
        ).room
        == 1
    )
    assert (
        engine_signal(
            parse(every, "m"), timedelta(0), CapacityEstimate(most=9), EngineMonitorSettings()
        ).room
        < 0
    )
