"""A proxy before a real S3 server that answers as S3 does when it is in trouble.

What is no fault passes byte for byte, so signatures stay valid: requests are only read as far as it
takes to find where the next one begins. Answers of S3's own form come from its documentation (Error
responses), those of MinIO from its ``cmd/api-errors.go``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

_CHUNK = 64 * 1024
#: code -> (status, message, whether reading fails too)
ERRORS = {
    "InternalError": (500, "We encountered an internal error. Please try again.", True),
    "SlowDown": (503, "Please reduce your request rate.", True),
    "ServiceUnavailable": (503, "Please reduce your request rate.", True),
    "XMinioStorageFull": (
        507,
        "Storage backend has reached its minimum free drive threshold.",
        False,
    ),
    "QuotaExceeded": (403, "The quota of the bucket is exceeded.", False),
}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What meets a share ``rate`` of the requests; nothing by default."""

    error: str | None = None  # a key of ERRORS
    cut: bool = False  # break the connection in the middle of a body that is sent or read
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    head: bytes
    method: str
    length: int | None  # of the body; None: it is chunked
    expects: bool  # waits for 100 Continue before it sends the body

    @property
    def writes(self) -> bool:
        return self.method in ("PUT", "POST")


class S3Proxy:
    def __init__(self, target: int, random: Random) -> None:
        self.port = 0
        self.trouble = Trouble()
        self.struck = 0  # requests that met trouble
        self._target = target
        self._random = random

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, with one of our own to the server."""
        upstream: asyncio.StreamWriter | None = None
        answers: asyncio.Task[None] | None = None
        answer = _Answer()
        try:
            back, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            answers = asyncio.create_task(_return(back, writer, answer))
            while (request := await _request(reader)) is not None:
                trouble = self._strikes(request)
                if trouble is not None and trouble.error is not None:
                    await _refuse(request, trouble.error, reader, writer)
                    return
                answer.most = None if trouble is None else self._random.randint(1, 2000)
                upstream.write(request.head)
                sent = await _body(request, reader, upstream, cut=trouble is not None)
                if not sent:
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of the two has gone
        finally:
            if answers is not None:
                answers.cancel()
            for one in (writer, upstream):
                if one is not None:
                    with suppress(OSError):
                        await one.drain()
                    one.close()

    def _strikes(self, request: Request) -> Trouble | None:
        trouble = self.trouble
        if self._random.random() >= trouble.rate:
            return None
        if trouble.error is not None and not ERRORS[trouble.error][2] and not request.writes:
            return None
        self.struck += 1
        return trouble


@dataclass
class _Answer:
    most: int | None = None  # bytes of answers that are let through; None: all


async def _return(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: _Answer
) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            if answer.most is not None and len(chunk) >= answer.most:
                writer.write(chunk[: answer.most])
                await writer.drain()
                break
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The head of the next request; None: the client has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split(b"\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in lines if line)
    }
    chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
    return Request(
        head=head,
        method=first.split(b" ")[0].decode(),
        length=None if chunked else int(headers.get(b"content-length", b"0")),
        expects=headers.get(b"expect", b"").lower() == b"100-continue",
    )


async def _body(
    request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cut: bool
) -> bool:
    """Pass a body on; with ``cut`` only half of one that is sent. Whether it was passed whole."""
    if request.length is None:
        while True:  # chunks, of which the last is empty
            size = await reader.readuntil(b"\r\n")
            length = int(size.split(b";")[0], 16)
            writer.write(size + await reader.readexactly(length + 2))
            await writer.drain()
            if not length:
                return True
    left = request.length // 2 if cut and request.length else request.length
    whole = left == request.length
    while left:
        chunk = await reader.read(min(_CHUNK, left))
        if not chunk:
            return False
        left -= len(chunk)
        writer.write(chunk)
        await writer.drain()
    return whole


async def _refuse(
    request: Request, code: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer in the server's place, once the body has come, and end the connection."""
    if not request.expects and request.length:
        left = request.length
        while left and (chunk := await reader.read(min(_CHUNK, left))):
            left -= len(chunk)
    status, message, _ = ERRORS[code]
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>/</Resource>"
        "<RequestId>chaos</RequestId></Error>"
    ).encode()
    if request.method == "HEAD":
        body = b""
    writer.write(
        f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()


@asynccontextmanager
async def s3_proxy(target: int, random: Random) -> AsyncIterator[S3Proxy]:
    proxy = S3Proxy(target, random)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1024 * 1024)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
