"""Forms (multipart/form-data, RFC 7578) read part by part as they arrive.

Nothing is spooled: the reader of a file part receives its chunks as they arrive. Parts come in the
order of the body, and each must be read before the next is asked for; what of it was not read is
skipped.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.web.header_values import parse_header

#: Parts of one form at most; ours have a handful.
MAX_PARTS = 64
#: Bytes of a field that is not a file.
MAX_FIELD = 64 * 1024


class _End:
    """Marks the end of a part."""


@dataclass(eq=False)
class FormPart:
    """One field or file of a form."""

    _form: "MultipartForm"
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None  # None: an ordinary field

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content. Raises InvalidRequest when the form turns out to be malformed."""
        while isinstance(piece := await self._form.piece(), bytes):
            yield piece

    async def text(self) -> str:
        """The whole content of a field. Raises InvalidRequest when it is long or not UTF-8."""
        content = bytearray()
        async for chunk in self.chunks():
            content += chunk
            if len(content) > MAX_FIELD:
                raise InvalidRequest(f"Invalid '{self.name}': too long.", param=self.name)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"Invalid '{self.name}': not UTF-8.", param=self.name) from None


class MultipartForm:
    """The form in a request with this Content-Type, whose body is ``chunks``.

    Raises InvalidRequest when the content type does not announce a form.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        announced = parse_header(content_type)
        boundary = announced.parameters.get("boundary")
        if announced.value != "multipart/form-data" or not boundary:
            raise InvalidRequest(
                "Invalid Content-Type header: expected multipart/form-data with a boundary."
            )
        self._chunks = chunks
        self._pieces: deque[FormPart | bytes | _End] = deque()
        self._complete = False
        self._parts = 0
        self._header = (bytearray(), bytearray())
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise malformed(str(error)) from error

    async def parts(self) -> AsyncIterator[FormPart]:
        """Yield the parts. Raises InvalidRequest when the form is malformed or cut short."""
        while (piece := await self.piece()) is not None:
            if isinstance(piece, FormPart):
                yield piece

    async def piece(self) -> FormPart | bytes | _End | None:
        """The next thing in the body: a part's beginning, its bytes, its end; None at the end."""
        while not self._pieces:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                if not self._complete:
                    raise malformed("it ends before its last boundary")
                return None
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise malformed(str(error)) from error
        return self._pieces.popleft()

    # -- what the parser reports, in the order of the body --

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise malformed(f"more than {MAX_PARTS} parts")
        self._part = FormPart(self)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        part = self._part
        disposition = parse_header(part.headers.get(b"content-disposition", b""))
        name = disposition.text("name")
        if name is None:
            raise malformed("a part has no name")
        part.name = name
        part.filename = disposition.text("filename")
        self._pieces.append(part)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _on_part_end(self) -> None:
        self._pieces.append(_End())

    def _on_end(self) -> None:
        self._complete = True


def malformed(why: str) -> InvalidRequest:
    return InvalidRequest(f"The multipart form in the request is malformed: {why}.")
