"""``AsyncBatchClient``: the helpers on an ``openai.AsyncOpenAI``."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from openai import AsyncOpenAI
from openai.types import Batch

from batch_gateway.client import steps
from batch_gateway.client.base import retry_body, sdk_options, update_body
from batch_gateway.client.requests import Request
from batch_gateway.client.results import RequestStatus, Result
from batch_gateway.client.steps import BatchParameters, MatchedResult, PollPause, SdkCall, Step

T = TypeVar("T")


class AsyncBatchClient:
    """Whole jobs in one call, and what the service adds to OpenAI's API.

    Errors of the SDK pass through. A given ``client`` stays open; without one the environment names
    the service (BATCH_GATEWAY_URL and BATCH_GATEWAY_API_KEY).
    """

    def __init__(self, client: AsyncOpenAI | None = None) -> None:
        self._client = client or AsyncOpenAI(**sdk_options())
        self._ours = client is None

    async def __aenter__(self) -> "AsyncBatchClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._ours:
            await self._client.close()

    def run(
        self,
        requests: Iterable[Request],
        *,
        window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        resume: bool = True,
        **fields: Any,
    ) -> AsyncIterator[Result]:
        """A result for each request, in the requests' order.

        Makes batches of at most 50,000 requests and waits for them, in ``window`` from their
        creation. The same requests again continue where the batches of the call before are, unless
        ``resume`` is False; what had expired is retried. ``fields`` are extensions, such as
        ``priority=0`` or ``deduplicate=True``. Requests are written to disk, and results read in
        pieces: memory does not grow with their number. Raises BatchFailed for a wrong request.
        """
        terms = BatchParameters(
            window=window, metadata=metadata or {}, fields=fields, resume=resume
        )
        return self._all(steps.run(requests, terms))

    async def submit(
        self,
        requests: Iterable[Request],
        *,
        window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        resume: bool = True,
        **fields: Any,
    ) -> list[Batch]:
        """The batches of the requests, as ``run`` makes them, without waiting."""
        terms = BatchParameters(
            window=window, metadata=metadata or {}, fields=fields, resume=resume
        )
        return await self._one(steps.submit(requests, terms))

    async def wait(self, batch: str) -> Batch:
        """The batch when it has ended."""
        return await self._one(steps.wait(batch))

    def results(
        self, batch: str, *, follow: bool = False, after: str | None = None
    ) -> "AsyncResults":
        """The results that there are, in no particular order; ``follow``: and those to come, until
        the batch has ended. ``after``: the cursor of an earlier stream."""
        place = steps.StreamPosition(after)
        return AsyncResults(self._all(steps.results(batch, place, follow=follow)), place)

    async def lookup(self, batch: str, custom_id: str) -> RequestStatus:
        """What has become of one request."""
        return await self._one(steps.lookup(batch, custom_id))

    async def pause(self, batch: str) -> Batch:
        """Start no more requests; those that run end as they would."""
        return await self._one(steps.change(batch, "pause", {}))

    async def resume(self, batch: str) -> Batch:
        """Resume a paused batch."""
        return await self._one(steps.change(batch, "resume", {}))

    async def cancel(self, batch: str) -> Batch:
        """End a batch; what is finished is kept."""
        return await self._one(steps.change(batch, "cancel", {}))

    async def update(
        self, batch: str, *, priority: int | None = None, window: str | None = None
    ) -> Batch:
        """Give a batch that has not ended another priority or window."""
        return await self._one(steps.change(batch, "update", update_body(priority, window)))

    async def retry(
        self,
        batch: str,
        *,
        errors: Sequence[str] | None = None,
        window: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Batch:
        """A new batch that runs what failed in an ended one: all, or only some ``errors``."""
        return await self._one(steps.change(batch, "retry", retry_body(errors, window, metadata)))

    async def _one(self, work: Generator[Step, Any, T]) -> T:
        """What ``work``, which finds no results, returns."""
        answer, error = None, None
        try:
            while True:
                step = work.send(answer) if error is None else work.throw(error)
                answer, error = await self._carried_out(step)
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            work.close()

    async def _all(self, work: Generator[Step, Any, None]) -> AsyncGenerator[Result, None]:
        answer, error = None, None
        try:
            while True:
                try:
                    step = work.send(answer) if error is None else work.throw(error)
                except StopIteration:
                    return
                answer, error = None, None
                if isinstance(step, MatchedResult):
                    yield step.result
                else:
                    answer, error = await self._carried_out(step)
        finally:
            work.close()

    async def _carried_out(self, step: Step) -> tuple[Any, Exception | None]:
        """The answer of a call, or its error, for the work to judge."""
        if isinstance(step, PollPause):
            await asyncio.sleep(step.seconds)
        if isinstance(step, SdkCall):
            try:
                return await step.make(self._client), None
            except Exception as raised:  # noqa: BLE001 - thrown into the work
                return None, raised
        return None, None


class AsyncResults(AsyncIterator[Result]):
    """A stream of results."""

    def __init__(self, found: AsyncGenerator[Result, None], place: steps.StreamPosition) -> None:
        self._found = found
        self._place = place

    async def __anext__(self) -> Result:
        return await anext(self._found)

    @property
    def cursor(self) -> str | None:
        """As that of ``Results``."""
        return self._place.cursor
