"""``/v1/files``: uploads stream in, contents stream out."""

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from batch_gateway.core.errors import InvalidRequest, NotFound
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import FileId
from batch_gateway.core.model import File
from batch_gateway.services.files.service import NOT_DOWNLOADABLE, FileService
from batch_gateway.web import body, metrics
from batch_gateway.web.api.file_form import receive_upload
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.header_values import attachment
from batch_gateway.web.multipart import MultipartForm
from batch_gateway.web.openai import FileDeleted, FileObject, ListObject
from batch_gateway.web.parsing import choice, cursor, integer, plain_id
from batch_gateway.web.ranges import ByteRange, requested

LONGEST_PAGE = 10_000


class FileRoutes:
    def __init__(self, files: FileService, *, idle_s: float, strict: bool) -> None:
        """``strict``: ``after`` is an id, never a number of files to pass over."""
        self._strict = strict
        self._files = files
        self._idle_s = idle_s

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/files": {"GET": self.list, "POST": self.create},
            "/v1/files/{file_id}": {"GET": self.get, "DELETE": self.delete},
            "/v1/files/{file_id}/content": {"GET": self.content},
        }

    async def create(self, call: ApiRequest) -> Response:
        request = call.request
        chunks = body.chunks(request.receive, idle_s=self._idle_s)
        form = MultipartForm(request.headers.get("content-type", ""), chunks)
        async with self._files.upload(call.tenant) as upload:
            file = await receive_upload(form, upload)
        metrics.UPLOADED_BYTES.inc(file.size)
        return answer(FileObject.of(file))

    async def list(self, call: ApiRequest) -> Response:
        query = call.request.query_params
        limit = integer(query, "limit", default=LONGEST_PAGE, minimum=1, maximum=LONGEST_PAGE)
        order = choice(query, "order", ["asc", "desc"], default="desc")
        found, purpose = cursor(query, offsets=not self._strict), query.get("purpose")
        if found is None:
            raise unknown_cursor(query["after"])
        after, offset = found
        if purpose is not None and not plain_id(purpose):
            return answer(ListObject.of([], more=False))  # no file has such a purpose
        page = await self._files.list(
            call.tenant,
            limit=limit,
            after=None if after is None else FileId(after),
            offset=offset,
            purpose=purpose,
            descending=order == "desc",
        )
        if page is None:
            raise unknown_cursor(after or "")
        return answer(ListObject.of([FileObject.of(file) for file in page.items], more=page.more))

    async def get(self, call: ApiRequest) -> Response:
        return answer(FileObject.of(await self._find(call)))

    async def delete(self, call: ApiRequest) -> Response:
        file_id = _file_id(call)
        if not await self._files.delete(call.tenant, file_id):
            raise no_such_file(file_id)
        return answer(FileDeleted(id=file_id))

    async def content(self, call: ApiRequest) -> Response:
        """The bytes, or the one range of them that is requested (RFC 9110, 14)."""
        file = await self._find(call)
        if file.purpose in NOT_DOWNLOADABLE:
            raise InvalidRequest(f"Not allowed to download files of purpose: {file.purpose}")
        request = call.request
        span = requested(request.headers, size=file.size, etag=_etag(file))
        headers = _content_headers(file, span)
        status = 200 if span.whole else 206
        if request.method == "HEAD":
            return Response(None, status, headers)
        return StreamingResponse(await self._opened(file, span), status, headers)

    async def _opened(self, file: File, span: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of ``span``, the first of them read already.

        So a blob that is gone is a 404, not an answer that breaks off.
        """
        stream = self._files.read(file, start=span.start, end=span.end)
        try:
            first = await anext(stream, b"")
        except NotFound:
            raise no_such_file(file.id) from None

        async def rest() -> AsyncIterator[bytes]:
            yield first
            async for chunk in stream:
                yield chunk

        return rest()

    async def _find(self, call: ApiRequest) -> File:
        file_id = _file_id(call)
        file = await self._files.get(call.tenant, file_id)
        if file is None:
            raise no_such_file(file_id)
        return file


def _content_headers(file: File, span: ByteRange) -> dict[str, str]:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(span.end - span.start),
        "Content-Disposition": attachment(file.filename),
        "Accept-Ranges": "bytes",
        "ETag": _etag(file),
    }
    if not span.whole:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.size}"
    return headers


def _etag(file: File) -> str:
    return f'"{file.sha256}"'


def _file_id(call: ApiRequest) -> FileId:
    given = call.request.path_params["file_id"]
    if not plain_id(given):
        raise no_such_file(given)
    return FileId(given)


def no_such_file(given: str) -> ApiError:
    return ApiError(404, f"No such File object: {excerpt(given)}", param="id")


def unknown_cursor(given: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'after': no such File object: {excerpt(given)}",
        param="after",
        code="invalid_value",
    )
