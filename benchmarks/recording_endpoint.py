"""A model endpoint that records its requests: ``python -m benchmarks.recording_endpoint PORT
LATENCY_MS``.

Answers every POST with the same 500 bytes after the same time, as ``benchmarks.endpoint`` does, and
takes bodies of a known length as well as chunked ones. ``GET /_seen`` says what has arrived since
the last ``POST /_forget`` of lines that ask "Question 7?": when the first one came
(CLOCK_MONOTONIC, the same in all processes of a machine), how often each came, which bodies they
had, by SHA-256, and how many were open at once. ``GET /v1/models`` lists the model. Prints its URL
when it listens.
"""

import asyncio
import hashlib
import json
import re
import sys
import time
from collections import Counter
from typing import Any, cast

import httptools
import uvloop

from benchmarks.endpoint import ANSWER

MODEL = "bench"
_QUESTION = re.compile(rb"Question (\d+)\?")


class Journal:
    """What has arrived."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.first_at: float | None = None
        self.open = self.most_open = 0
        self.lines: Counter[int] = Counter()
        self.bodies: set[str] = set()

    def seen(self) -> dict[str, Any]:
        return {
            "first_at": self.first_at,
            "most_open": self.most_open,
            "lines": self.lines,
            "bodies": sorted(self.bodies),
        }

    def begun(self, body: bytes) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        if (question := _QUESTION.search(body)) is None:  # a probe, for example
            return
        self.first_at = self.first_at or time.monotonic()
        self.lines[int(question[1])] += 1
        self.bodies.add(hashlib.sha256(body).hexdigest())


class Connection(asyncio.Protocol):
    """One connection; its requests are answered one after the other."""

    def __init__(self, journal: Journal, latency_s: float) -> None:
        self._journal = journal
        self._latency_s = latency_s
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    # What the parser calls

    def on_message_begin(self) -> None:
        self._url, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        if self._url == b"/_seen":
            self._send(_answer(self._journal.seen()))
        elif self._url == b"/_forget":
            self._journal.forget()
            self._send(_answer({}))
        elif method == b"POST":
            self._journal.begun(b"".join(self._body))
            self._reply()
        elif self._url == b"/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}
            self._send(_answer({"object": "list", "data": [model]}))
        else:
            self._send(_answer({"error": {"message": "not found"}}, status=b"404 Not Found"))

    def _reply(self) -> None:
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        self._journal.open = max(0, self._journal.open - 1)
        self._send(ANSWER)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _answer(content: dict[str, Any], *, status: bytes = b"200 OK") -> bytes:
    body = json.dumps(content).encode()
    kind = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + kind + body


async def serve(port: int, latency_s: float) -> None:
    loop, journal = asyncio.get_running_loop(), Journal()
    server = await loop.create_server(
        lambda: Connection(journal, latency_s), "127.0.0.1", port, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
