"""``Idempotency-Key``: a repeated POST returns the stored response.

A request with a key first claims it in the metadata store, then is done, then its answer is
recorded; the same request gets that answer from then on. Until then it is refused and may come
again. After a crash in between the claim runs out, and the next one does it anew, with the same
seed: a batch takes its id from that, so one that was made already is found and not made twice.

Only what succeeded is remembered: a refused request may be corrected and sent under the same key,
and leaves no row behind.
Whether a request is the same is judged by its body. A form streams into the store and is known only
at its end; the boundary, which clients make up for each request, does not count. Answers are kept
sealed: that to a new webhook endpoint holds its secret.
"""

import hashlib
import logging
import re
import secrets
from dataclasses import replace
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive

from batch_gateway.core.errors import BatchGatewayError, InvalidRequest, Permanent, Temporary
from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse, claim_id
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import IdempotencyClaimRows
from batch_gateway.ports.secrets import SecretSealer
from batch_gateway.web import body
from batch_gateway.web.api.routing import ApiRequest, Handler
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.header_values import parse_header

logger = logging.getLogger(__name__)

#: How long a claim counts as being processed. A larger upload that takes longer is still kept
#: only once per request; its key is just free for another attempt earlier.
HELD = timedelta(seconds=60)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyGuard:
    def __init__(
        self,
        claims: IdempotencyClaimRows,
        sealer: SecretSealer,
        clock: Clock,
        *,
        max_bytes: int,
        idle_s: float,
    ) -> None:
        """``max_bytes``: the largest body that is not a form."""
        self._claims = claims
        self._sealer = sealer
        self._clock = clock
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    def __call__(self, handler: Handler) -> Handler:
        """``handler``, done once per key."""

        async def once(call: ApiRequest) -> Response:
            key = call.request.headers.get("idempotency-key")
            if key is None:
                return await handler(call)
            if not _KEY.fullmatch(key):
                raise InvalidRequest(
                    "Invalid 'Idempotency-Key': expected 1 to 255 visible ASCII characters.",
                    code="invalid_idempotency_key",
                )
            sent = await self._sent(call.request)
            claim, mine = await self._claim(call, key, sent.fingerprint)
            if mine:
                return await self._do(call, handler, claim, sent)
            if claim.answer is not None:
                await sent.finish(self._idle_s)
                _demand_same(claim, sent.fingerprint)
                return self._repeated(claim.answer)
            raise ApiError(
                409,
                "A request with the same Idempotency-Key is being worked on. Please try again.",
                code="idempotency_key_in_use",
                headers={"Retry-After": "1", "x-should-retry": "true"},
            )

        return once

    async def _sent(self, request: Request) -> "_Sent":
        """The body: a form as it will come, anything else as it has come."""
        announced = parse_header(request.headers.get("content-type", ""))
        sent = _Sent(request.receive, announced.parameters.get("boundary", b""))
        if announced.value == "multipart/form-data":
            return sent
        sent.content = await body.read(sent.receive, self._max_bytes, idle_s=self._idle_s)
        return sent

    async def _claim(
        self, call: ApiRequest, key: str, fingerprint: str | None
    ) -> tuple[IdempotencyClaim, bool]:
        """The key's claim, and whether it is ours. Raises ApiError when its body is another."""
        now = self._clock.now()
        url, holder = call.request.url, secrets.token_hex(16)
        claim = await self._claims.claim(
            IdempotencyClaim(
                id=claim_id(call.tenant, f"{url.path}?{url.query}", key),
                seed=call.seed.hex(),
                holder=holder,
                held_until=now + HELD,
                created_at=now,
                fingerprint=fingerprint,
            )
        )
        try:
            _demand_same(claim, fingerprint)
        except ApiError:
            if claim.holder == holder:
                await self._release(claim, refused=False, fresh=False)
            raise
        return claim, claim.holder == holder and claim.answer is None

    async def _do(
        self, call: ApiRequest, handler: Handler, claim: IdempotencyClaim, sent: "_Sent"
    ) -> Response:
        request = Request(call.request.scope, sent.replayed)
        try:
            response = await handler(replace(call, request=request, seed=bytes.fromhex(claim.seed)))
            await sent.finish(self._idle_s)
        except BaseException as error:  # also when the request is cancelled
            fresh = claim.seed == call.seed.hex()
            await self._release(claim, refused=_refused(error), fresh=fresh)
            raise
        await self._record(claim, sent, response)
        return response

    async def _record(self, claim: IdempotencyClaim, sent: "_Sent", response: Response) -> None:
        """Store the response. If the store is unavailable the client still gets it."""
        if isinstance(response, StreamingResponse):
            raise TypeError("a streamed answer cannot be repeated")
        answer = StoredResponse(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            body=self._sealer.seal(bytes(response.body).decode()),
        )
        try:
            await self._claims.answer(claim.id, claim.holder, sent.fingerprint or "", answer)
        except Temporary as error:
            logger.warning("A response is not stored: %s", error, extra={"action": "idempotency"})

    def _repeated(self, answer: StoredResponse) -> Response:
        try:
            content = self._sealer.open(answer.body)
        except Permanent as error:
            logger.warning("A stored response is lost: %s", error, extra={"action": "idempotency"})
            raise ApiError(
                409,
                "This was done already, but its answer is not known any more.",
                code="idempotency_answer_lost",
                headers={"x-should-retry": "false"},
            ) from error
        return Response(
            content,
            answer.status,
            {"content-type": answer.content_type, "idempotency-replayed": "true"},
        )

    async def _release(self, claim: IdempotencyClaim, *, refused: bool, fresh: bool) -> None:
        """Free the key. Nothing is kept of a refused request that was the first with its key.

        So refused requests, of which there may be any number, leave no rows. A claim that was
        taken over stays, because something may have been done under its seed.
        """
        try:
            if refused and fresh:
                await self._claims.withdraw(claim.id, claim.holder)
                return
            now = self._clock.now()
            await self._claims.release(claim.id, claim.holder, now=now, refused=refused)
        except BatchGatewayError as error:  # it runs out by itself
            logger.warning("A claim is not released: %s", error, extra={"action": "idempotency"})


class _Sent:
    """A request's body, hashed while the handler reads it."""

    def __init__(self, receive: Receive, boundary: bytes) -> None:
        self.content: bytes | None = None  # None: still to be read
        self._receive = receive
        self._boundary = boundary
        self._hash = hashlib.sha256()
        self._tail = b""  # the end of what came, which may be the beginning of a boundary
        self._ended = False
        self._replayed = False

    @property
    def fingerprint(self) -> str | None:
        """None until all of it has come."""
        return self._hash.hexdigest() if self._ended else None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._feed(message.get("body", b""))
            if not message.get("more_body", False):
                self._hash.update(self._tail)
                self._ended = True
        return message

    async def replayed(self) -> Message:
        """As ``receive``, from the beginning."""
        if self.content is None or self._replayed:
            return await self.receive()
        self._replayed = True
        return {"type": "http.request", "body": self.content, "more_body": False}

    async def finish(self, idle_s: float) -> None:
        """Read the rest of the body. Raises ClientDisconnected, BodyTimeout."""
        if not self._ended:
            async for _ in body.chunks(self.receive, idle_s=idle_s):
                pass

    def _feed(self, chunk: bytes) -> None:
        if not self._boundary:
            self._hash.update(chunk)
            return
        *whole, rest = (self._tail + chunk).split(self._boundary)
        for piece in whole:
            self._hash.update(piece)
        keep = min(len(self._boundary) - 1, len(rest))
        self._hash.update(rest[: len(rest) - keep])
        self._tail = rest[len(rest) - keep :]


def _demand_same(claim: IdempotencyClaim, fingerprint: str | None) -> None:
    """Raises ApiError when both bodies are known and differ."""
    if None not in (claim.fingerprint, fingerprint) and claim.fingerprint != fingerprint:
        raise ApiError(
            400,
            "This Idempotency-Key was used with another request body before. Use a new key for a "
            "new request.",
            code="idempotency_key_reused",
        )


def _refused(error: BaseException) -> bool:
    """Whether nothing was done, and the fault was the request's."""
    return isinstance(error, InvalidRequest) or (isinstance(error, ApiError) and error.status < 500)
