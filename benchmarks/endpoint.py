"""A model endpoint that costs as little as it can: ``python -m benchmarks.endpoint LATENCY_MS``.

The simulator renders prompts and keeps a cache; where the gateway alone is measured, that would be
measured too. This one reads no body and answers every POST with the same 500 bytes after the same
time, so it serves as a broker as well. Prints its URL when it listens.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

_COMPLETION = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 500, "completion_tokens": 50, "total_tokens": 550},
}
_BODY_BYTES = 500


def _answer() -> bytes:
    message = _COMPLETION["choices"][0]["message"]  # type: ignore[index]
    message["content"] = "a" * (_BODY_BYTES - len(json.dumps(_COMPLETION)))
    body = json.dumps(_COMPLETION).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


ANSWER = _answer()


class Connection(asyncio.Protocol):
    """Counts bytes: of a request it only finds the end."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._head = b""
        self._missing = 0  # bytes of the body
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        while data or self._missing:
            if self._missing:
                taken = min(len(data), self._missing)
                self._missing -= taken
                data = data[taken:]
                if self._missing:
                    return
            else:
                head, end, rest = (self._head + data).partition(b"\r\n\r\n")
                if not end:
                    self._head = head
                    return
                self._head = b""
                self._missing = _content_length(head)
                data = rest
                if self._missing:
                    continue
            self._reply()

    def _reply(self) -> None:
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


def _content_length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"\r\ncontent-length:")
    return int(after.partition(b"\r\n")[0] or 0)


async def serve(latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency_s), "127.0.0.1", backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) / 1000))
