"""Spans of one lease of a shard: the shard's own, and those of some calls and flushes under it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_gateway import traces
from batch_gateway.core import tracing
from batch_gateway.core.lines import ShardLine
from batch_gateway.core.model import Lease

if TYPE_CHECKING:
    from batch_gateway.services.execute.attempt import AttemptResult

_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}


class ShardSpans:
    def __init__(self, lease: Lease, most: int) -> None:
        """``most``: calls that get a span, and flushes that do.

        The calls are spread evenly: every ``lines / most``-th one.
        """
        shard = lease.shard
        self.shard = traces.start(
            "execute shard",
            lease.traceparent,
            kind="consumer",
            attributes={
                traces.BATCH_ID: shard.batch,
                traces.TENANT: lease.tenant,
                "batch_gateway.shard.index": shard.index,
                "batch_gateway.shard.lines": shard.lines,
                "batch_gateway.shard.epoch": shard.epoch,
                "gen_ai.request.model": shard.model,
            },
        )
        recorded = self.shard.recorded
        self._calls_left = self._flushes_left = most if recorded else 0
        self._stride = max(1, shard.lines // max(1, most))
        self._begun = 0  # calls
        context = self.shard.context
        #: Headers of calls without a span; an engine is to record no span of these either.
        self.headers: Mapping[str, str] = tracing.fields(
            tracing.unsampled(context) if recorded and context else context
        )

    def next_call(self) -> bool:
        """Whether the call that begins now gets a span."""
        if self._calls_left <= 0:
            return False
        self._begun += 1
        return (self._begun - 1) % self._stride == 0

    @contextmanager
    def call(self, line: ShardLine, url: str, attempt: int) -> Iterator[traces.Span]:
        """The span of one call of the endpoint at ``url``; ``attempt`` counts from 1."""
        self._calls_left -= 1
        operation = _OPERATIONS.get(line.url) or line.url.rpartition("/")[2]
        server = urlsplit(url)
        with traces.span(
            f"{operation} {line.model}",
            self.shard.context,
            kind="client",
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.request.model": line.model,
                "server.address": server.hostname or "",
                "server.port": server.port or (443 if server.scheme == "https" else 80),
                "batch_gateway.line": line.line,
                "batch_gateway.attempt": attempt,
            },
        ) as span:
            yield span

    @contextmanager
    def flush(self, lines: int) -> Iterator[None]:
        """The span of a store of ``lines`` results, while there are few of them."""
        if self._flushes_left <= 0:
            yield
            return
        self._flushes_left -= 1
        attributes: traces.Attributes = {"batch_gateway.lines": lines}
        with traces.span("flush", self.shard.context, attributes=attributes):
            yield

    def end(self, *, completed: int, failed: int, state: str) -> None:
        """The lease is over, and the shard has so many results."""
        self.shard.set(
            {
                "batch_gateway.shard.completed": completed,
                "batch_gateway.shard.failed": failed,
                "batch_gateway.lease.state": state,
            }
        )
        self.shard.end()


def describe(span: traces.Span, ended: "AttemptResult") -> None:
    """Record how a call ended."""
    if ended.status is not None:
        span.set({"http.response.status_code": ended.status})
    if ended.result is not None and ended.result.ok:
        given, cached, made, _ = ended.result.tokens
        span.set(
            {
                "gen_ai.usage.input_tokens": given,
                "gen_ai.usage.cache_read.input_tokens": cached,
                "gen_ai.usage.output_tokens": made,
            }
        )
    else:
        span.fail(ended.cause or str(ended.status))
