"""The trace of one batch as a picture: ``python -m benchmarks.trace``.

The second batch of 60 requests runs through functions that the first one has started. They send
their spans to a collector in this process. The picture is ``docs/pictures/trace.svg``.
"""

import asyncio
import html
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.stage import chat_lines, stage

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "trace.svg"
LINES, SHARD_LINES, CALLS_PER_SHARD = 60, 20, 2
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
SHARDS = LINES // SHARD_LINES
_WIDTH, _ROW, _NAMES, _FONT = 900, 22, 250, "12px system-ui, sans-serif"
_COLOURS = {
    "api": "#4269d0",
    "planner": "#efb118",
    "executor": "#3ca951",
    "assembler": "#a463f2",
}


@dataclass(frozen=True)
class Bar:
    """A span."""

    name: str
    function: str
    id: str
    parent: str
    start_s: float
    end_s: float


class SpanReceiver(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    received: list[Bar]

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.received += [
                    Bar(
                        span.name,
                        about["faas.name"],
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano / 1e9,
                        span.end_time_unix_nano / 1e9,
                    )
                    for span in scope.spans
                    if span.trace_id.hex() == TRACE
                ]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def receiving() -> Iterator[tuple[str, list[Bar]]]:
    """The URL of a collector, and what it receives."""
    received: list[Bar] = []
    handler = type("Handler", (SpanReceiver,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


async def traced() -> list[Bar]:
    """The spans of one batch."""
    with receiving() as (url, received):
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "200"
        settings = {
            "tracing": {"enabled": True, "endpoint": url, "requests_per_shard": CALLS_PER_SHARD},
            "planning": {"shard_lines": SHARD_LINES},
        }
        async with stage(settings=settings, simulator={"ttft_ms": 60, "tpot_ms": 4}) as here:
            await here.ended(await here.submit(chat_lines(LINES)))  # the functions run then
            file = await here.upload(chat_lines(LINES))
            batch = await here.client.batches.create(
                input_file_id=file,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                extra_headers=CLIENT,
            )
            await here.ended(batch)
            async with asyncio.timeout(60):
                while not whole([bar.name for bar in received]):
                    await asyncio.sleep(0.1)
        return list(received)


def whole(names: Sequence[str]) -> bool:
    """Whether all spans that end last have come, of each function."""
    return names.count("execute shard") == SHARDS and "assemble batch" in names


def in_order(bars: Sequence[Bar], parent: str, depth: int = 0) -> Iterator[tuple[int, Bar]]:
    """Each span below its parent, by their beginnings."""
    for bar in sorted(bars, key=lambda bar: bar.start_s):
        if bar.parent == parent:
            yield depth, bar
            yield from in_order(bars, bar.id, depth + 1)


def svg(rows: Sequence[tuple[int, Bar]]) -> str:
    begin = min(bar.start_s for _, bar in rows)
    span_s = max(bar.end_s for _, bar in rows) - begin
    scale = (_WIDTH - _NAMES - 70) / span_s
    height = (len(rows) + 2) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
            f' style="font: {_FONT}" role="img">',
            "<title>The spans of one batch</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            *_legend(),
            *(
                line
                for number, (depth, bar) in enumerate(rows, start=2)
                for line in _row(bar, depth, number * _ROW - 6, begin, scale)
            ),
            "</svg>\n",
        ]
    )


def _legend() -> Iterable[str]:
    for number, (function, colour) in enumerate(_COLOURS.items()):
        x = _NAMES + 100 * number
        yield f'<rect x="{x}" y="6" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="15" fill="#333333">{function}</text>'


def _row(bar: Bar, depth: int, y: int, begin: float, scale: float) -> Iterable[str]:
    x = _NAMES + (bar.start_s - begin) * scale
    width = max(2.0, (bar.end_s - bar.start_s) * scale)
    name = html.escape(bar.name)
    yield f'<text x="{8 + 14 * depth}" y="{y}" fill="#333333">{name}</text>'
    yield (
        f'<rect x="{x:.1f}" y="{y - 10}" width="{width:.1f}" height="13" rx="2"'
        f' fill="{_COLOURS[bar.function]}"/>'
    )
    told = f"{1000 * (bar.end_s - bar.start_s):,.0f} ms"
    yield f'<text x="{x + width + 5:.1f}" y="{y}" fill="#333333">{told}</text>'


def main() -> int:
    bars = asyncio.run(traced())
    (root,) = [bar for bar in bars if bar.parent not in {other.id for other in bars}]
    rows = [(0, root), *in_order(bars, root.id, 1)]
    PICTURE.write_text(svg(rows))
    print(f"{len(rows)} spans in {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
