"""Delivers the events of one Trigger, several at a time, each until a final outcome.

The rules are those of Knative's data plane. Tried again are: no answer, a broken connection, 5xx,
404, 408, 409 and 429. A 2xx whose body is not empty must be a CloudEvent - 200 makes it a reply,
which enters the broker - or else the delivery has failed. An event whose tries are used up goes to
the dead letter sink or is dropped with a line in the log. The entry is acknowledged after that.

A dead letter carries what Knative's carries (eventing, ``pkg/kncloudevents/event_dispatcher.go``):
``knativeerrordest``; ``knativeerrorcode``, 500 without an answer; ``knativeerrordata``, the last
answer's body as base64 that is cut at 1,024 bytes.
"""

import asyncio
import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from redis.exceptions import RedisError

from batch_gateway.local.broker.config import DeliveryRetry, DeliveryTarget, TriggerConfig
from batch_gateway.local.broker.events import MalformedEvent, StoredEvent, decode, encode
from batch_gateway.local.broker.routing import TTL, TriggerRouter
from batch_gateway.local.broker.streams import EventStreams, StreamEntry
from batch_gateway.local.durations import TimeScale

logger = logging.getLogger(__name__)

_IN_FLIGHT = 16  # requests to one subscriber at once
_OUTSTANDING = 512  # events read and not settled, those that wait for their next try included
_REDIS_PAUSE_S = 0.5
_RETRIED = {404, 408, 409, 429}
_NO_ANSWER = 500  # status in dead letters
_MAX_ERROR_DATA = 1024  # bytes of base64


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """How one try went."""

    delivered: bool
    again: bool = False  # whether another try may help
    status: int = _NO_ANSWER
    body: bytes = b""  # of an answer that is a failure
    reply: StoredEvent | None = None  # None: the subscriber had nothing to say

    @property
    def why(self) -> str:
        """Status and body of a failure, for a line in the log."""
        return f"{self.status} {self.body[:200].decode(errors='replace').strip()}".rstrip()

    @property
    def error_data(self) -> str:
        """The body as dead letters carry it."""
        return base64.b64encode(self.body).decode()[:_MAX_ERROR_DATA]


class TriggerDispatcher:
    def __init__(
        self,
        trigger: TriggerConfig,
        stream: str,
        *,
        streams: EventStreams,
        router: TriggerRouter,
        session: aiohttp.ClientSession,
        durations: TimeScale,
    ) -> None:
        self._trigger = trigger
        self._stream = stream
        self._streams = streams
        self._router = router
        self._session = session
        self._durations = durations
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)
        self._outstanding = asyncio.Semaphore(_OUTSTANDING)

    async def run(self) -> None:
        """Deliver for ever, beginning with what an earlier life has left."""
        async with asyncio.TaskGroup() as tasks:
            for entry in await self._streams.unsettled(self._stream):
                await self._outstanding.acquire()
                tasks.create_task(self._see_through(entry))
            while True:
                try:
                    entries = await self._streams.next(self._stream, _IN_FLIGHT)
                except RedisError as error:
                    logger.warning("cannot read %s: %s", self._stream, error)
                    await asyncio.sleep(_REDIS_PAUSE_S)
                    continue
                for entry in entries:
                    await self._outstanding.acquire()
                    tasks.create_task(self._see_through(entry))

    async def _see_through(self, entry: StreamEntry) -> None:
        """Bring one entry to its final outcome and settle it, even if Redis is away meanwhile."""
        try:
            await asyncio.sleep(self._durations(entry.event.hold_s))
            while True:
                try:
                    await self._deliver(entry)
                    return
                except RedisError as error:  # then the event is delivered once more
                    logger.warning("cannot settle %s: %s", entry.event, error)
                    await asyncio.sleep(_REDIS_PAUSE_S)
        finally:
            self._outstanding.release()

    async def _deliver(self, entry: StreamEntry) -> None:
        outgoing = entry.event.without(TTL)
        outcome = await self._tries(outgoing, self._trigger.subscriber, self._trigger.retry)
        if outcome.delivered and outcome.reply is not None:
            await self._reply(entry, outcome.reply)
            return
        if not outcome.delivered:
            await self._give_up(outgoing, outcome)
        await self._streams.settle(entry)

    async def _reply(self, entry: StreamEntry, reply: StoredEvent) -> None:
        hops = entry.event.attributes[TTL]
        try:
            await self._router.accept(reply.with_attributes(**{TTL: hops}), replied_to=entry)
        except MalformedEvent as error:
            logger.warning("dropped the reply %s to %s: %s", reply, entry.event, error)
            await self._streams.settle(entry)

    async def _give_up(self, event: StoredEvent, outcome: DeliveryOutcome) -> None:
        why = f"{self._trigger.name}: {outcome.why}"
        if self._trigger.dead_letter is None:
            logger.error("dropped %s, undeliverable to %s", event, why)
            return
        letter = event.with_attributes(
            knativeerrordest=self._trigger.subscriber.named,
            knativeerrorcode=str(outcome.status),
            knativeerrordata=outcome.error_data,
        )
        last = await self._tries(letter, self._trigger.dead_letter, self._trigger.retry)
        if not last.delivered:
            logger.error("dropped %s, undeliverable to %s and to its dead letter sink", event, why)

    async def _tries(
        self, event: StoredEvent, to: DeliveryTarget, retry: DeliveryRetry
    ) -> DeliveryOutcome:
        """The outcome of the first try that was final, else of the last one."""
        attempt = 0
        while True:
            async with self._in_flight:
                outcome = await self._try(event, to, retry)
            if not outcome.again or attempt >= retry.count:
                return outcome
            logger.info("will try %s again: %s", event, outcome.why)
            await asyncio.sleep(self._durations(retry.pause_s(attempt)))
            attempt += 1

    async def _try(
        self, event: StoredEvent, to: DeliveryTarget, retry: DeliveryRetry
    ) -> DeliveryOutcome:
        headers, body = encode(event)
        headers |= {"Prefer": "reply", **to.headers}
        limit = aiohttp.ClientTimeout(total=retry.timeout_s)
        try:
            async with self._session.post(
                to.url,
                data=body,
                headers=headers,
                skip_auto_headers=["Content-Type"],  # an event without data has none
                timeout=limit,
                allow_redirects=False,
            ) as response:
                return _judge(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = f"dispatch error: {str(error) or type(error).__name__}"
            return DeliveryOutcome(delivered=False, again=True, body=said.encode())


def _judge(status: int, headers: Mapping[str, str], body: bytes) -> DeliveryOutcome:
    if not 200 <= status < 300:
        again = status >= 500 or status in _RETRIED
        return DeliveryOutcome(delivered=False, again=again, status=status, body=body)
    if not body and "ce-specversion" not in headers:
        return DeliveryOutcome(delivered=True, status=status)
    try:
        (reply,) = decode(headers, body)
    except (MalformedEvent, ValueError):
        return DeliveryOutcome(delivered=False, again=True, status=502)
    return DeliveryOutcome(delivered=True, status=status, reply=reply if status == 200 else None)
