"""The engines' state under vLLM's metric names, for engine monitors."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from batch_gateway.simulator.engine import TTFT_BUCKETS_S, SimulatedEngine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(engines: Mapping[str, SimulatedEngine]) -> bytes:
    """Prometheus' text format, one sample per model."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Engines(engines))
    return generate_latest(registry)


class _Engines(Collector):
    """Reads the engines' own counters when asked, so that requests pay nothing for metrics."""

    def __init__(self, engines: Mapping[str, SimulatedEngine]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        label = ["model_name"]
        running = GaugeMetricFamily(
            "vllm:num_requests_running", "Requests with a slot", labels=label
        )
        waiting = GaugeMetricFamily(
            "vllm:num_requests_waiting", "Requests in the queue", labels=label
        )
        usage = GaugeMetricFamily(
            "vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1", labels=label
        )
        queries = CounterMetricFamily(
            "vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache", labels=label
        )
        hits = CounterMetricFamily(
            "vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache", labels=label
        )
        prompt = CounterMetricFamily("vllm:prompt_tokens", "Prompt tokens read", labels=label)
        made = CounterMetricFamily("vllm:generation_tokens", "Tokens generated", labels=label)
        success = CounterMetricFamily(
            "vllm:request_success", "Requests that ended", labels=[*label, "finished_reason"]
        )
        ttft = HistogramMetricFamily(
            "vllm:time_to_first_token_seconds",
            "Queue wait, prefill and first token",
            labels=label,
        )
        for model, engine in self._engines.items():
            totals = engine.totals
            running.add_metric([model], engine.running)
            waiting.add_metric([model], engine.waiting)
            usage.add_metric([model], engine.kv_usage)
            queries.add_metric([model], engine.cache.queried_tokens)
            hits.add_metric([model], engine.cache.hit_tokens)
            prompt.add_metric([model], totals.prompt_tokens)
            made.add_metric([model], totals.output_tokens)
            for reason, number in sorted(totals.finished.items()):
                success.add_metric([model, reason], number)
            success.add_metric([model, "abort"], totals.aborted)
            bounds = [*map(str, TTFT_BUCKETS_S), "+Inf"]
            ttft.add_metric(
                [model],
                list(zip(bounds, map(float, accumulate(totals.ttft_buckets)), strict=True)),
                totals.ttft_sum_s,
            )
        return (running, waiting, usage, queries, hits, prompt, made, success, ttft)
