"""One model request: from the connection through an engine, and back."""

import time
from collections.abc import Iterator

from batch_gateway.simulator import responses
from batch_gateway.simulator.calls import RequestRejected
from batch_gateway.simulator.engine import SimulatedEngine, SimulatedGeneration
from batch_gateway.simulator.hostile import HostileAnswer
from batch_gateway.simulator.http import HttpRequest
from batch_gateway.simulator.journal import JournalEntry, RequestJournal
from batch_gateway.simulator.prefix_cache import block_hashes
from batch_gateway.simulator.responses import Answer, PlannedReply


class SimulatedRequest:
    """Ends in exactly one of: answered, refused, dropped by the simulator, aborted by the client.

    Keeps the journal that it began in, so that a reset does not count its end.
    """

    __slots__ = (
        "_answer",
        "_chunks",
        "_engine",
        "_entry",
        "_exchange",
        "_generation",
        "_journal",
        "_said",
    )

    _said: PlannedReply
    _answer: Answer
    _engine: SimulatedEngine
    _generation: SimulatedGeneration | None
    _chunks: Iterator[bytes]

    def __init__(self, exchange: HttpRequest, entry: JournalEntry, journal: RequestJournal) -> None:
        self._exchange = exchange
        self._entry = entry
        self._journal = journal
        self._generation = None
        exchange.disconnected = self._abort

    def submit(self, engine: SimulatedEngine, said: PlannedReply, answer: Answer) -> bool:
        """Give the request to an engine; False when it is full."""
        call = said.call
        self._engine, self._said, self._answer = engine, said, answer
        generation = self._generation = SimulatedGeneration(
            prompt_tokens=said.prompt_tokens,
            blocks=block_hashes(b"".join(call.prompts)),
            output_tokens=said.output_tokens,
            choices=call.choices * len(call.prompts),
            finish_reason=said.finish_reason,
            priority=call.priority,
            started=self._started,
            token=self._send_token if call.stream else None,
            done=self._end_stream if call.stream else self._reply,
        )
        if call.stream:
            self._chunks = responses.chat_chunks(said)
        return engine.submit(generation)

    def refuse(self, refused: RequestRejected, retry_after: int | None) -> None:
        """Answer with an error; ``retry_after`` in seconds, None: without that header."""
        headers = () if retry_after is None else (("retry-after", str(retry_after)),)
        self._close(refused.status)
        self._exchange.reply(
            refused.status, responses.refusal(refused), (*self._headers(), *headers)
        )

    def drop(self) -> None:
        """Close the connection without an answer."""
        self._close(None)
        self._exchange.drop()

    def reply_hostile(self, answer: HostileAnswer) -> None:
        """Send bytes that need not be HTTP; the status of such a request is not recorded."""
        self._exchange.reply_hostile(answer, ended=lambda: self._close(None))

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", f"req_{self._entry.digest[:24]}"),)

    def _timed(self) -> tuple[tuple[str, str], ...]:
        """The headers of an answer, with its time to first token."""
        waited_ms = self._entry.first_token_ms
        timing = () if waited_ms is None else (("server-timing", f"ttft;dur={waited_ms:.3f}"),)
        return (*self._headers(), *timing)

    def _started(self) -> None:
        self._entry.started_at = time.time()
        if self._said.call.stream:
            self._exchange.begin_stream(self._headers())

    def _reply(self) -> None:
        body = self._answer(self._said, self._cached_tokens)
        generation = self._generation
        if generation is not None and self._said.output_tokens:
            self._entry.first_token_ms = 1000 * (
                generation.first_token_at - generation.submitted_at
            )
        self._entry.usage = self._said.usage(self._cached_tokens)
        match self._entry.fault:
            case "cut":
                self._close(None)
                self._exchange.reply_half(200, body, self._headers())
            case "malformed":
                self._close(200)
                self._exchange.reply(200, body[: len(body) // 2], self._headers())
            case _:
                self._close(200)
                self._exchange.reply(200, body, self._timed())

    def _send_token(self) -> None:
        chunk = next(self._chunks)
        match self._entry.fault:
            case "cut":
                self._exchange.send(chunk)
                self._abandon()
                self.drop()
            case "malformed":
                self._exchange.send(chunk[: len(chunk) // 2] + b"\n\n")
            case _:
                self._exchange.send(chunk)

    def _end_stream(self) -> None:
        self._close(200)
        self._exchange.send(responses.chat_stream_end(self._said, self._cached_tokens))
        self._exchange.end_stream()

    @property
    def _cached_tokens(self) -> int:
        return self._generation.cached_tokens if self._generation is not None else 0

    def _abort(self) -> None:
        self._abandon()
        self._close(None, aborted=True)

    def _abandon(self) -> None:
        if self._generation is not None:
            self._engine.abort(self._generation)

    def _close(self, status: int | None, *, aborted: bool = False) -> None:
        self._journal.ended(self._entry, status=status, aborted=aborted, now=time.time())
