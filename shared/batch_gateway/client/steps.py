"""The helpers as generators without I/O, which both clients run.

A generator yields a ``SdkCall``, whose answer it is sent (or whose error is thrown into it), a
``PollPause``, or a ``MatchedResult``, which is for the caller. The clients carry them out.
"""

import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec
from openai import APIConnectionError, APIStatusError
from openai.types import Batch

from batch_gateway.client.errors import BatchFailed
from batch_gateway.client.requests import InputFile, Request, files_of
from batch_gateway.client.results import RequestStatus, Result, parsed

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
#: The metadata by which ``run`` finds the batches of an earlier call.
NOTE = "batch_gateway_client"

_PATIENCE_S = 300.0  # without any answer
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_CHUNK = 4 * 1024 * 1024  # bytes of a file requested at a time


@dataclass(frozen=True, slots=True)
class SdkCall:
    """A call of the SDK. ``make`` gets the client; an asynchronous one's answer is awaited."""

    make: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class PollPause:
    seconds: float


@dataclass(frozen=True, slots=True)
class MatchedResult:
    result: Result


Step = SdkCall | PollPause | MatchedResult


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchParameters:
    """How batches are made of requests."""

    window: str = "24h"
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the service's extensions
    most_requests: int = 50_000
    most_bytes: int = 100 * 1024 * 1024
    resume: bool = True

    def plain(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "metadata": dict(self.metadata),
            "fields": dict(self.fields),
        }


def run(requests: Iterable[Request], terms: BatchParameters) -> Generator[Step, Any, None]:
    """Batches of all requests, and then a result for each request in order."""
    begun: list[tuple[InputFile, Batch]] = []
    try:
        limits = {"most_requests": terms.most_requests, "most_bytes": terms.most_bytes}
        for file in files_of(requests, **limits):
            begun.append((file, (yield from _begin(file, terms))))
        for file, batch in begun:
            ended = yield from wait(batch.id)
            if ended.status == "failed":
                raise BatchFailed(ended)
            yield from _in_order(file, ended)
    finally:
        for file, _ in begun:
            file.stream.close()


def submit(
    requests: Iterable[Request], terms: BatchParameters
) -> Generator[Step, Any, list[Batch]]:
    """The batches, without waiting for them."""
    begun = []
    limits = {"most_requests": terms.most_requests, "most_bytes": terms.most_bytes}
    for file in files_of(requests, **limits):
        with closing(file.stream):
            begun.append((yield from _begin(file, terms)))
    return begun


def _begin(file: InputFile, terms: BatchParameters) -> Generator[Step, Any, Batch]:
    """The batch of a file: one that an earlier call has made, or a new one."""
    note = file.digest(terms.plain())
    if terms.resume and (found := (yield from _earlier(note))) is not None:
        return found
    file.stream.seek(0)
    uploaded = yield SdkCall(
        lambda client: client.files.create(
            file=("requests.jsonl", file.stream),
            purpose="batch",
            extra_headers={"Idempotency-Key": str(uuid.uuid4())},
        )
    )
    made: Batch = yield SdkCall(
        lambda client: client.batches.create(
            input_file_id=uploaded.id,
            endpoint=file.url,
            completion_window=terms.window,
            metadata={**terms.metadata, NOTE: note},
            extra_body=dict(terms.fields),
            extra_headers={"Idempotency-Key": str(uuid.uuid4())},
        )
    )
    return made


def _earlier(note: str) -> Generator[Step, Any, Batch | None]:
    """The newest batch with this note that continues, or its retry."""
    page = yield _get("/batches", {"limit": "100", f"metadata[{NOTE}]": note})
    for found in page.json()["data"]:
        if (found.get("metadata") or {}).get(NOTE) != note:
            continue  # a service without this filter answers all
        batch = Batch.model_validate(found)
        if batch.status == "failed":
            return None
        if batch.status not in ("expired", "cancelled"):
            return batch
        try:
            return (yield from change(batch.id, "retry", {}))
        except APIStatusError as error:
            if error.status_code >= 500:
                raise
            return None
    return None


def wait(batch_id: str) -> Generator[Step, Any, Batch]:
    """The batch when it has ended. The service may be away for five minutes meanwhile."""
    began = answered = time.monotonic()
    while True:
        try:
            batch: Batch = yield SdkCall(lambda client: client.batches.retrieve(batch_id))
        except (APIConnectionError, APIStatusError) as error:
            passing = not isinstance(error, APIStatusError) or error.status_code >= 500
            if not passing or time.monotonic() - answered > _PATIENCE_S:
                raise
        else:
            answered = time.monotonic()
            if batch.status in ENDED:
                return batch
        age = time.monotonic() - began
        yield PollPause(min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, age / 20)))


def _in_order(file: InputFile, batch: Batch) -> Generator[Step, Any, None]:
    """Output and error file as one, in the order of the input: each of them has it."""
    sources = [_Lines(name) for name in (batch.output_file_id, batch.error_file_id) if name]
    for name in file.names():
        for source in sources:
            result = yield from source.head()
            if result is not None and result.custom_id == name:
                source.take()
                yield MatchedResult(result)
                break


class _Lines:
    """The results of a file, downloaded in pieces."""

    def __init__(self, file_id: str) -> None:
        self._path = f"/files/{file_id}/content"
        self._offset = 0
        self._rest = b""
        self._lines: list[bytes] = []  # the next one last
        self._ended = False
        self._head: Result | None = None

    def head(self) -> Generator[Step, Any, Result | None]:
        """The next result; None after the last."""
        while self._head is None and not (self._ended and not self._lines):
            if self._lines:
                self._head = parsed(self._lines.pop())
            else:
                yield from self._read()
        return self._head

    def take(self) -> None:
        self._head = None

    def _read(self) -> Generator[Step, Any, None]:
        last = self._offset + _CHUNK - 1
        answer: httpx.Response = yield _get(
            self._path, {}, {"Range": f"bytes={self._offset}-{last}"}
        )
        content = answer.content
        self._offset += len(content)
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        self._ended = answer.status_code != 206 or self._offset >= int(total)
        *lines, self._rest = (self._rest + content).split(b"\n")
        if self._ended and self._rest:
            lines.append(self._rest)
        self._lines = lines[::-1]


@dataclass(slots=True)
class StreamPosition:
    """Where a stream of results stands."""

    cursor: str | None = None


def results(batch_id: str, place: StreamPosition, *, follow: bool) -> Generator[Step, Any, None]:
    """Results as they come, in no particular order; ``place`` moves after each page."""
    idle = 0
    while True:
        query = {"after": place.cursor} if place.cursor else {}
        page: httpx.Response = yield _get(f"/batches/{batch_id}/results", query)
        for raw in page.content.splitlines():
            yield MatchedResult(parsed(raw))
        moved = place.cursor != page.headers["x-next-cursor"]
        place.cursor = page.headers["x-next-cursor"]
        if page.headers["x-has-more"] == "false":
            return
        if not page.content:
            if not follow:
                return
            idle = 0 if moved else idle + 1
            yield PollPause(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 1.5 ** min(idle, 10)))
        else:
            idle = 0


class _Request(msgspec.Struct):
    status: Literal["pending", "completed", "failed"]
    result: msgspec.Raw = msgspec.Raw(b"null")


def lookup(batch_id: str, custom_id: str) -> Generator[Step, Any, RequestStatus]:
    answer: httpx.Response = yield _get(f"/batches/{batch_id}/requests", {"custom_id": custom_id})
    found = msgspec.json.decode(answer.content, type=_Request)
    raw = bytes(found.result)
    return RequestStatus(custom_id, found.status, None if raw == b"null" else parsed(raw))


def change(batch_id: str, verb: str, body: Mapping[str, Any]) -> Generator[Step, Any, Batch]:
    """``POST /v1/batches/{id}/{verb}``, which may be repeated."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    changed: Batch = yield SdkCall(
        lambda client: client.post(
            f"/batches/{batch_id}/{verb}",
            cast_to=Batch,
            body=dict(body),
            options={"headers": headers},
        )
    )
    return changed


def _get(path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> SdkCall:
    options = {"params": dict(query), "headers": dict(headers or {})}
    return SdkCall(lambda client: client.get(path, cast_to=httpx.Response, options=options))
