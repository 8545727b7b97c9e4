"""A client that reads an engine's response over TCP, as an executor does for one call."""

import asyncio
import atexit
import json
from datetime import timedelta

from batch_gateway.adapters.model_http import HttpModelClient
from batch_gateway.core.engine_response import MalformedResponse, decode
from batch_gateway.core.engine_values import LONGEST_RETRY_AFTER, MOST
from batch_gateway.core.retry import judge_response
from batch_gateway.ports.model_client import CallFailed, CallTimeout, ModelResponse

_GOOD = b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"good":1}'
_LONG = timedelta(seconds=60)
_MOST_BYTES = 1024 * 1024


class ResponseReader:
    """One client and one engine, from the first use to the exit."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said: bytes | None = None  # None: a good answer

    def run(self, said: bytes) -> None:
        """Call the engine once, then once more when it answers well."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.run_until_complete(self._open())
            atexit.register(self._close)
        self._loop.run_until_complete(self._call(said))

    async def _open(self) -> None:
        self._client = HttpModelClient(max_answer_bytes=_MOST_BYTES)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/x"

    def _close(self) -> None:
        assert self._loop is not None
        self._server.close()
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(_GOOD if self._said is None else self._said)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _call(self, said: bytes) -> None:
        self._said = said
        try:
            _check(await self._client.call(self._url, b"{}", {}, _LONG))
        except CallTimeout:
            raise AssertionError("a closed connection was waited for") from None
        except CallFailed as error:
            _check_reason(str(error))
        self._said = None
        good = await self._client.call(self._url, b"{}", {}, _LONG)
        assert json.loads(good.body) == {"good": 1}


def _check_reason(reason: str) -> None:
    assert len(reason) < 2000
    assert reason.isprintable()


def _check(found: ModelResponse) -> None:
    assert 0 <= found.status <= 999
    assert len(found.body) <= _MOST_BYTES
    for text in (found.request_id, found.leads_to):
        assert text is None or (text.isprintable() and text.encode() and len(text) <= 500)
    assert found.retry_after is None or timedelta() <= found.retry_after <= LONGEST_RETRY_AFTER
    try:
        body = decode(found.body)
    except MalformedResponse:
        body = None
    else:
        assert isinstance(json.loads(body.text), dict)
        assert b"\n" not in body.text
        assert all(0 <= count <= MOST for count in body.tokens)
    judged = judge_response(found.status, body, leads_to=found.leads_to)
    assert judged.problem is None or judged.problem.isprintable()
