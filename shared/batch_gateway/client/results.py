"""Results as objects."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from batch_gateway.client.errors import RequestFailed


@dataclass(frozen=True, slots=True)
class ResultError:
    """Why a request has no successful answer."""

    code: str  # the error's code or type, or else the HTTP status
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request."""

    custom_id: str
    status_code: int | None
    """HTTP status of the model's answer; None: there was none, ``error`` has the cause."""
    body: Any
    """The model's answer, decoded; None without one."""
    error: ResultError | None
    """None: the request succeeded."""
    raw: bytes
    """The line of the output or error file, as it is."""

    @property
    def ok(self) -> bool:
        return self.error is None

    def check(self) -> "Result":
        """This result. Raises RequestFailed when the request failed."""
        if self.error is not None:
            raise RequestFailed(self.custom_id, self.error.code, self.error.message)
        return self

    @property
    def text(self) -> str:
        """The text of a chat completion, completion or response. Raises RequestFailed."""
        body = self.check().body
        if "choices" in body:
            choice = body["choices"][0]
            return str((choice.get("message") or {}).get("content") or choice.get("text") or "")
        return "".join(
            part["text"]
            for item in body["output"]
            for part in item.get("content") or ()
            if part.get("type") == "output_text"
        )

    @property
    def embedding(self) -> list[float]:
        """The first embedding of the answer. Raises RequestFailed."""
        found: list[float] = self.check().body["data"][0]["embedding"]
        return found


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """What has become of one request so far."""

    custom_id: str
    status: Literal["pending", "completed", "failed"]
    result: Result | None  # None while it is pending


def parsed(raw: bytes) -> Result:
    """The result in a line."""
    line = json.loads(raw)
    response, error = line["response"], line["error"]
    if response is None:
        return Result(line["custom_id"], None, None, _error(error, "unknown"), raw)
    status, body = response["status_code"], response["body"]
    wrong = None
    if status >= 400:
        inner = body.get("error") if isinstance(body, dict) else None
        wrong = _error(inner if isinstance(inner, dict) else {}, str(status))
    return Result(line["custom_id"], status, body, wrong, raw)


def _error(error: dict[str, Any], otherwise: str) -> ResultError:
    code = error.get("code") or error.get("type") or otherwise
    return ResultError(str(code), str(error.get("message") or "no reason given"))
