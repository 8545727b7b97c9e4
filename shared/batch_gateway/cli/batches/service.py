"""HTTP client of the commands: responses are plain objects, each error is one line.

What may be repeated without harm is repeated: reading always, writing because each POST carries an
``Idempotency-Key``. A refused connection is not retried: most often no service runs there.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any

import httpx

from batch_gateway.cli.batches.source import InputSource
from batch_gateway.cli.errors import REFUSED, UNREACHABLE, CommandError

Json = dict[str, Any]

_ATTEMPTS = 4
_PAUSE_S = 0.5  # before the second attempt; doubles
_LONGEST_PAUSE_S = 20.0  # a longer Retry-After is not waited for
_PASSING = frozenset({408, 429, 502, 503, 504})  # statuses that may be others next time
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CONSOLE_TIMEOUT = 5.0  # of a question that nothing depends on


class ServiceClient:
    """A client of one tenant. Raises CommandError for whatever goes wrong."""

    def __init__(self, url: str, key: str | None, headers: Mapping[str, str]) -> None:
        self.url = base_url(url)
        given = dict(headers)
        if key:
            given.setdefault("authorization", f"Bearer {key}")
        # Certificates take 100 ms to load.
        secure = self.url.startswith("https:")
        self._http = httpx.Client(base_url=self.url, headers=given, timeout=_TIMEOUT, verify=secure)

    def __enter__(self) -> "ServiceClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    @cached_property
    def _console(self) -> str | None:
        """Where the service's web console is; None: it serves none, or does not answer in time."""
        root = httpx.URL(self.url.removesuffix("/v1")).copy_with(userinfo=b"")
        page = f"{str(root).rstrip('/')}/console/"
        try:
            answer = self._http.get(f"{page}config.json", timeout=_CONSOLE_TIMEOUT)
            known = answer.is_success and "auth" in answer.json()
        except (httpx.HTTPError, ValueError, TypeError):
            return None
        return page if known else None

    def console_url(self, batch: str) -> str | None:
        """The address of a batch's page in the web console; None: the service serves no console."""
        return None if self._console is None else f"{self._console}#/batches/{batch}"

    def get(self, path: str, **query: Any) -> Json:
        given = {name: value for name, value in query.items() if value is not None}
        return self._object(self._repeated("GET", path, params=given))

    def post(self, path: str, body: Json | None = None) -> Json:
        key = {"idempotency-key": str(uuid.uuid4())}
        return self._object(self._repeated("POST", path, json=body or {}, headers=key))

    def delete(self, path: str) -> Json:
        return self._object(self._repeated("DELETE", path))

    def delete_if_there(self, path: str) -> bool:
        """False: there is no such thing."""
        try:
            self.delete(path)
        except ErrorResponse as refusal:
            if refusal.status != 404:
                raise
            return False
        return True

    def upload(self, source: InputSource) -> Json:
        """Send a file as it is read; only one that can be read again is tried again."""
        key = {"idempotency-key": str(uuid.uuid4())}
        parts = {"file": (source.name, source, "application/jsonl")}
        return self._object(
            self._repeated(
                "POST",
                "/files",
                attempts=_ATTEMPTS if source.seekable() else 1,
                data={"purpose": "batch"},
                files=parts,
                headers=key,
            )
        )

    @contextmanager
    def stream(self, path: str, **query: Any) -> Iterator[httpx.Response]:
        """An answer that is read while it comes."""
        given = {name: value for name, value in query.items() if value is not None}
        with self._translated(), self._http.stream("GET", path, params=given) as answer:
            if not answer.is_success:
                answer.read()
                raise refusal(answer)
            yield answer

    def _repeated(
        self, method: str, path: str, *, attempts: int = _ATTEMPTS, **given: Any
    ) -> httpx.Response:
        pause = _PAUSE_S
        for attempt in range(1, attempts + 1):
            try:
                with self._translated():
                    answer = self._http.request(method, path, **given)
            except ConnectionLost:
                if attempt == attempts:
                    raise
            else:
                wait = _asked_pause(answer)
                if not _may_pass(answer) or wait > _LONGEST_PAUSE_S or attempt == attempts:
                    return answer
                pause = max(pause, wait)
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The driver's errors as ours."""
        try:
            yield
        except httpx.ConnectError as error:
            reason = str(error) or "no connection"
            here = httpx.URL(self.url).host in ("127.0.0.1", "::1", "localhost")
            hint = "; `batch-gateway up` starts one, --url names another" if here else ""
            told = f"cannot reach {self.url}: {reason}{hint}"
            raise CommandError(told, UNREACHABLE) from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"no answer from {self.url}: {reason}", UNREACHABLE) from error

    def _object(self, answer: httpx.Response) -> Json:
        if not answer.is_success:
            raise refusal(answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CommandError(f"{self.url} is not a batch service: no JSON object", UNREACHABLE)
        return found


class ErrorResponse(CommandError):
    """An answer that is an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, UNREACHABLE if status >= 500 else REFUSED)
        self.status = status


class ConnectionLost(CommandError):
    """The connection was there, and broke off or fell silent."""


def base_url(url: str) -> str:
    """Where the API is: ``/v1`` goes without saying when no path is given."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CommandError(f"not a URL: {url} ({error})", 2) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CommandError(f"not a URL: {url} (it begins with http:// or https://)", 2)
    return str(parsed.copy_with(path=parsed.path.rstrip("/") or "/v1", query=None))


def refusal(answer: httpx.Response) -> ErrorResponse:
    """The message of an error response, in one line."""
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.reason_phrase or "no reason given"
    hint = ""
    if answer.status_code == 401:
        hint = "; give the key as BATCH_GATEWAY_API_KEY or --api-key, or keep it by `login`"
        if "authorization" not in answer.request.headers and os.environ.get("OPENAI_API_KEY"):
            hint += " (OPENAI_API_KEY goes to OPENAI_BASE_URL alone)"
    elif answer.status_code == 404 and not answer.headers.get("content-type", "").startswith(
        "application/json"
    ):
        hint = f"; is there a batch service at {answer.url}?"
    told = f"{' '.join(message.split())} ({answer.status_code}){hint}"
    return ErrorResponse(told, answer.status_code)


def _may_pass(answer: httpx.Response) -> bool:
    return answer.status_code in _PASSING and answer.headers.get("x-should-retry") != "false"


def _asked_pause(answer: httpx.Response) -> float:
    """The Retry-After of an answer in seconds; dates, which we do not send, count as 0."""
    try:
        return float(answer.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
