"""Requests, and files of them: written to disk once, so that any number can be run."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a batch."""

    body: Mapping[str, Any]
    url: str = CHAT
    custom_id: str | None = None
    """By which its result is found, different for each request; None: ``request-`` and its number
    from 0."""

    def line(self, number: int) -> tuple[str, bytes]:
        """The custom_id and the line of the input file."""
        name = f"request-{number}" if self.custom_id is None else self.custom_id
        content = {"custom_id": name, "method": "POST", "url": self.url, "body": self.body}
        return name, json.dumps(content, ensure_ascii=False).encode() + b"\n"


def chat(
    model: str, prompt: str, *, system: str | None = None, custom_id: str | None = None, **body: Any
) -> Request:
    """A chat completion of one prompt; ``body`` has any other fields, such as ``max_tokens``."""
    before = [{"role": "system", "content": system}] if system is not None else []
    messages = [*before, {"role": "user", "content": prompt}]
    return Request(body={"model": model, "messages": messages, **body}, custom_id=custom_id)


def embedding(model: str, text: str, *, custom_id: str | None = None, **body: Any) -> Request:
    """The embedding of one text."""
    content = {"model": model, "input": text, **body}
    return Request(body=content, url=EMBEDDINGS, custom_id=custom_id)


@dataclass(slots=True)
class InputFile:
    """The requests of one batch, in a temporary file that is gone when it is closed."""

    stream: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    count: int = 0
    size: int = 0  # bytes
    url: str = ""  # of all requests; "*": of several kinds
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, line: bytes, url: str) -> None:
        self.stream.write(line)
        self._digest.update(line)
        self.count += 1
        self.size += len(line)
        self.url = url if self.url in ("", url) else "*"

    def digest(self, terms: Mapping[str, Any]) -> str:
        """Of the requests and of the terms of the batch."""
        whole = self._digest.copy()
        whole.update(json.dumps(terms, sort_keys=True).encode())
        return str(whole.hexdigest())

    def names(self) -> Iterator[str]:
        """The custom_ids in order."""
        self.stream.seek(0)
        for line in self.stream:
            yield json.loads(line)["custom_id"]


def files_of(
    requests: Iterable[Request], *, most_requests: int, most_bytes: int
) -> Iterator[InputFile]:
    """Files of at most so many requests and bytes, each when it is full."""
    file = InputFile()
    for number, request in enumerate(requests):
        _, line = request.line(number)
        if file.count and (file.count == most_requests or file.size + len(line) > most_bytes):
            yield file
            file = InputFile()
        file.add(line, request.url)
    if file.count:
        yield file
