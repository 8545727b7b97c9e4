"""The simulator's OpenAI endpoints, and control endpoints for tests.

POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/moderations,
     and vLLM's /v1/score, /v1/rerank
GET  /v1/models, /health, /metrics
GET  /_sim/requests?since=N   what arrived after request number N, oldest first
GET  /_sim/stats              totals since the start or the last reset
POST /_sim/config             changes fields of the config, answers the whole of it
POST /_sim/reset              forgets all that happened and restores the first config
"""

import hashlib
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from batch_gateway.simulator import calls, metrics, responses
from batch_gateway.simulator.calls import EngineCall, RequestRejected
from batch_gateway.simulator.config import Fault, SimulatorConfig
from batch_gateway.simulator.engine import LoopClock, SimulatedEngine
from batch_gateway.simulator.faults import FaultInjector
from batch_gateway.simulator.http import HttpRequest
from batch_gateway.simulator.journal import RequestJournal
from batch_gateway.simulator.request import SimulatedRequest

OBJECTIVE = "x-gateway-inference-objective"
"""The header by which routers of the Gateway API Inference Extension mark batch work."""


class Simulator:
    """Engines by model, and what all of them share."""

    def __init__(self, config: SimulatorConfig, clock: LoopClock) -> None:
        self._first_config = config
        self._clock = clock
        self.config = config
        self.engines = {model: SimulatedEngine(config, clock) for model in config.models}
        self.journal = RequestJournal()
        self._faults = FaultInjector(config)
        moderation, score, rerank = (
            partial(read, default_model=config.models[0])
            for read in (calls.moderation, calls.score, calls.rerank)
        )
        self._inference: dict[str, tuple[Callable[[bytes], EngineCall], responses.Answer, bool]] = {
            "/v1/chat/completions": (calls.chat, responses.chat, True),
            "/v1/completions": (calls.completion, responses.completion, True),
            "/v1/responses": (calls.response, responses.response, True),
            "/v1/embeddings": (calls.embedding, responses.embedding, False),
            "/v1/moderations": (moderation, responses.moderation, False),
            "/v1/score": (score, responses.score, False),
            "/v1/rerank": (rerank, responses.reranking, False),
        }
        self._others: dict[tuple[str, str], Callable[[HttpRequest], None]] = {
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/health"): lambda exchange: exchange.reply(200, b"{}"),
            ("GET", "/metrics"): self._show_metrics,
            ("GET", "/_sim/requests"): self._show_requests,
            ("GET", "/_sim/stats"): lambda exchange: exchange.reply(200, _encode(self.stats())),
            ("POST", "/_sim/config"): self._change_config,
            ("POST", "/_sim/reset"): self._reset,
        }

    def handle(self, exchange: HttpRequest) -> None:
        """Answer one HTTP request, at once or when its engine is done."""
        inference = self._inference.get(exchange.path)
        if inference is not None and exchange.method == "POST":
            self._infer(exchange, *inference)
            return
        handler = self._others.get((exchange.method, exchange.path))
        if handler is not None:
            handler(exchange)
            return
        unknown = RequestRejected(404, f"Invalid URL ({exchange.method} {exchange.path})")
        exchange.reply(404, responses.refusal(unknown))

    def configure(self, **fields: Any) -> SimulatorConfig:
        """Change fields of the config at once. Raises ValueError that names the wrong one."""
        config = self.config.changed(fields)
        if config.models != self.config.models:
            raise ValueError("models are fixed once the simulator runs - at `$.models`")
        self._adopt(config)
        return config

    def reset(self) -> None:
        """Forget all that happened; requests that are still open end uncounted."""
        self._adopt(self._first_config)
        self.journal = RequestJournal()
        for engine in self.engines.values():
            engine.reset()

    def stats(self) -> dict[str, Any]:
        journal = self.journal
        return {
            "requests": journal.requests,
            "in_flight": journal.open,
            "max_in_flight": journal.most_open,
            "by_status": {str(status): count for status, count in journal.by_status.items()},
            "faults": journal.faults,
            "aborted": journal.aborted,
            "running": sum(engine.running for engine in self.engines.values()),
            "waiting": sum(engine.waiting for engine in self.engines.values()),
            "models": {model: _engine_stats(engine) for model, engine in self.engines.items()},
        }

    def _infer(
        self,
        exchange: HttpRequest,
        read: Callable[[bytes], EngineCall],
        answer: responses.Answer,
        generates: bool,
    ) -> None:
        body = exchange.body
        digest = hashlib.sha256(body).hexdigest()
        entry = self.journal.arrived(
            path=exchange.path,
            headers={
                n: value for n, value in exchange.headers.items() if n.startswith(("x-", "trace"))
            },
            digest=digest,
            now=time.time(),
        )
        request = SimulatedRequest(exchange, entry, self.journal)
        try:
            call = read(body)
            entry.model = call.model
            engine = self.engines.get(call.model)
            if engine is None:
                raise RequestRejected(
                    404,
                    f"The model `{call.model}` does not exist.",
                    param="model",
                    code="model_not_found",
                )
            fault = entry.fault = self._faults.draw(body, digest)
            if fault is not None and self._refused_by(fault, request):
                return
            if self._sheds(exchange, engine):
                raise self._overloaded(self.config.refuse_status)
            said = responses.PlannedReply(call, digest, self.config, generates=generates)
            if not request.submit(engine, said, answer):
                raise self._overloaded(self.config.refuse_status)
        except RequestRejected as refused:
            request.refuse(refused, self._retry_after(refused.status))

    def _sheds(self, exchange: HttpRequest, engine: SimulatedEngine) -> bool:
        """Whether a router would refuse this request: it is batch work and the engine is full."""
        most = self.config.shed_at
        if most is None or OBJECTIVE not in exchange.headers:
            return False
        return engine.running + engine.waiting >= most

    def _refused_by(self, fault: Fault, request: SimulatedRequest) -> bool:
        """Let a fault act that needs no engine; False: this one does, or there is none."""
        match fault:
            case "429" | "503":
                raise self._overloaded(int(fault))
            case "500":
                raise RequestRejected(500, "The engine failed (injected).", code="internal_error")
            case "disconnect":
                request.drop()
                return True
            case "timeout":
                return True  # open until the client gives up
            case "hostile":
                request.reply_hostile(self._faults.hostile_answer())
                return True
            case "cut" | "malformed":
                return False

    def _overloaded(self, status: int) -> RequestRejected:
        if status == 429:
            return RequestRejected(429, "Too many requests.", code="rate_limit_exceeded")
        return RequestRejected(503, "The engine is overloaded.", code="service_unavailable")

    def _retry_after(self, status: int) -> int | None:
        """Whole seconds, as HTTP requires."""
        pause = self.config.retry_after_s
        return math.ceil(pause) if pause is not None and status in {429, 503} else None

    def _adopt(self, config: SimulatorConfig) -> None:
        self.config = config
        self._faults = FaultInjector(config)
        for engine in self.engines.values():
            engine.configure(config)

    def _list_models(self, exchange: HttpRequest) -> None:
        models = [
            {"id": model, "object": "model", "created": responses.CREATED, "owned_by": "simulator"}
            for model in self.engines
        ]
        exchange.reply(200, _encode({"object": "list", "data": models}))

    def _show_metrics(self, exchange: HttpRequest) -> None:
        if not self.config.metrics:
            exchange.reply(404, b"{}")
            return
        text = metrics.exposition(self.engines)
        exchange.reply(200, text, content_type=metrics.CONTENT_TYPE)

    def _show_requests(self, exchange: HttpRequest) -> None:
        since = exchange.parameter("since", "0")
        if not since.isascii() or not since.isdigit():
            exchange.reply(
                400, responses.refusal(RequestRejected(400, "not a number", param="since"))
            )
            return
        exchange.reply(200, _encode(self.journal.since(int(since))))

    def _change_config(self, exchange: HttpRequest) -> None:
        try:
            config = self.configure(**msgspec.json.decode(exchange.body, type=dict[str, Any]))
        except ValueError as error:  # msgspec's errors are ValueErrors
            exchange.reply(400, responses.refusal(RequestRejected(400, str(error))))
            return
        exchange.reply(200, _encode(config))

    def _reset(self, exchange: HttpRequest) -> None:
        self.reset()
        exchange.reply(200, b"{}")


def _engine_stats(engine: SimulatedEngine) -> dict[str, int]:
    return {
        "running": engine.running,
        "waiting": engine.waiting,
        "finished": engine.totals.finished.total(),
        "aborted": engine.totals.aborted,
        "prompt_tokens": engine.totals.prompt_tokens,
        "output_tokens": engine.totals.output_tokens,
        "queried_tokens": engine.cache.queried_tokens,
        "cached_tokens": engine.cache.hit_tokens,
    }


_encode = msgspec.json.Encoder().encode
