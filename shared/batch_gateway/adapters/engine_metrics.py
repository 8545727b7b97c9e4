"""Reads an engine's metrics in Prometheus' text format.

The text of a busy vLLM has some thousand lines and is read several times a second, so it is not
parsed as a whole: only the lines of the few names below are looked at.

Names: vLLM ``docs/usage/metrics`` (the cache's name lost its ``gpu_`` with the V1 engine), SGLang
``docs/references/production_metrics``, llama.cpp ``tools/server``, text-generation-inference
``docs/reference/metrics``, and the endpoint picker of the Gateway API Inference Extension, which
llm-d has renamed (``llm_d_epp_`` for ``inference_extension_`` and ``inference_pool_``).
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta

import aiohttp

from batch_gateway.adapters.tls import TlsContexts
from batch_gateway.core.engine_signals import EngineReading
from batch_gateway.core.engine_values import SHOWN, gauge, header
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import TlsOptions

_RUNNING = (
    "vllm:num_requests_running",
    "sglang:num_running_reqs",
    "llamacpp:requests_processing",
    "tgi_batch_current_size",
    "llm_d_epp_average_running_requests",
    "inference_pool_average_running_requests",
)
_WAITING = (
    "vllm:num_requests_waiting",
    "sglang:num_queue_reqs",
    "llamacpp:requests_deferred",
    "tgi_queue_size",
    "llm_d_epp_average_queue_size",
    "inference_pool_average_queue_size",
)
_QUEUED = (  # in the router itself, before any engine
    "llm_d_epp_flow_control_queue_size",
    "inference_extension_flow_control_queue_size",
)
_CACHE = (
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
    "llm_d_epp_average_kv_cache_utilization",
    "inference_pool_average_kv_cache_utilization",
)
_SATURATION = (
    "llm_d_epp_flow_control_pool_saturation",
    "inference_extension_flow_control_pool_saturation",
)
_SAMPLE = re.compile(
    rf"^({'|'.join((*_RUNNING, *_WAITING, *_QUEUED, *_CACHE, *_SATURATION))})"
    r"(?:\{((?:[^\"}\n]|\"(?:[^\"\\\n]|\\.)*+\")*+)\})?[ \t]+(\S+)",
    re.MULTILINE,
)
_MODEL = re.compile(r'(?:^|,)\s*(?:target_)?model(?:_name)?="((?:[^"\\]|\\.)*)"')
_MOST_BYTES = 8 * 1024 * 1024

Samples = Mapping[str, list[tuple[str | None, float]]]
"""By metric: the model it is about (None: it does not say) and the value."""


class HttpEngineMetrics:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None  # made in the event loop it serves
        self._contexts = TlsContexts()

    async def read(
        self, url: str, model: str, timeout: timedelta, tls: TlsOptions | None = None
    ) -> EngineReading:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                text = await self._fetch(url, tls)
        except TimeoutError as error:
            raise Unavailable(f"{url} has not answered in time") from error
        except Unavailable:
            raise
        except Exception as error:  # the client library's own, at an answer that it did not expect
            reason = header(str(error), SHOWN) or type(error).__name__
            raise Unavailable(f"{url} cannot be read: {reason}") from error
        reading = parse(text, model)
        if reading is None:
            raise Unavailable(f"{url} shows no queue that is known")
        return reading

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, url: str, tls: TlsOptions | None) -> str:
        secured = self._contexts.to(url, tls)
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        async with self._session.get(url, allow_redirects=False, ssl=secured) as response:
            if response.status != 200:
                raise ValueError(f"HTTP status {response.status}")
            content = await response.content.read(_MOST_BYTES)
            while not response.content.at_eof() and len(content) < _MOST_BYTES:
                content += await response.content.read(_MOST_BYTES - len(content))
            return content.decode(errors="replace").removeprefix("\ufeff")  # a byte order mark


def parse(text: str, model: str) -> EngineReading | None:
    """The reading of ``model`` in ``text``; None: it has no metric of a queue."""
    samples = _samples(text)
    waiting = _sum(samples, _WAITING, model)
    queued = _sum(samples, _QUEUED, model)
    if waiting is None and queued is None:
        return None
    return EngineReading(
        running=_sum(samples, _RUNNING, model) or 0.0,
        waiting=(waiting or 0.0) + (queued or 0.0),
        cache=_mean(samples, _CACHE, model),
        saturation=_most(samples, _SATURATION, model),
    )


def _samples(text: str) -> Samples:
    found: dict[str, list[tuple[str | None, float]]] = defaultdict(list)
    for name, labels, spelled in _SAMPLE.findall(text):
        model = _MODEL.search(labels)
        if (value := gauge(spelled)) is not None:
            found[name].append((model[1] if model else None, value))
    return found


def _of_model(samples: Samples, names: tuple[str, ...], model: str) -> Iterator[float]:
    """The values of the first of ``names`` that there is."""
    for name in names:
        if name in samples:
            mine = [value for named, value in samples[name] if named == model]
            yield from mine or (value for _, value in samples[name])
            return


def _sum(samples: Samples, names: tuple[str, ...], model: str) -> float | None:
    values = list(_of_model(samples, names, model))
    return sum(values) if values else None


def _mean(samples: Samples, names: tuple[str, ...], model: str) -> float | None:
    """The share in use of all caches together; None: not reported.

    Ranks of a data-parallel engine have a cache of the same size each. One that is full brakes
    nothing: the engine's own balancer sends requests to those that have room.
    """
    values = [min(value, 1.0) for value in _of_model(samples, names, model)]
    return sum(values) / len(values) if values else None


def _most(samples: Samples, names: tuple[str, ...], model: str) -> float | None:
    return max(_of_model(samples, names, model), default=None)
