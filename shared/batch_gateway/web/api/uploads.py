"""``/v1/uploads``: files in parts, which stream into the store."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest, NotFound
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import UploadId
from batch_gateway.core.uploads import UploadPart
from batch_gateway.services.files.uploads import IncomingPart, UploadService
from batch_gateway.services.request_errors import unrecognized
from batch_gateway.web import body, metrics
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.multipart import MultipartForm
from batch_gateway.web.openai_uploads import CompleteUpload, CreateUpload, PartObject, UploadObject
from batch_gateway.web.parsing import parse, plain_id


class UploadRoutes:
    def __init__(self, uploads: UploadService, *, max_bytes: int, idle_s: float) -> None:
        self._uploads = uploads
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/uploads": {"POST": self.create},
            "/v1/uploads/{upload_id}/parts": {"POST": self.add_part},
            "/v1/uploads/{upload_id}/complete": {"POST": self.complete},
            "/v1/uploads/{upload_id}/cancel": {"POST": self.cancel},
        }

    async def create(self, call: ApiRequest) -> Response:
        asked = parse(CreateUpload, await self._body(call))
        new = asked.new_upload()
        return answer(UploadObject.of(await self._uploads.create(call.tenant, new)))

    async def add_part(self, call: ApiRequest) -> Response:
        request = call.request
        chunks = body.chunks(request.receive, idle_s=self._idle_s)
        form = MultipartForm(request.headers.get("content-type", ""), chunks)
        with _named_in_path(call) as upload:
            async with self._uploads.part(call.tenant, upload) as incoming:
                part = await _receive_part(form, incoming)
        metrics.UPLOADED_BYTES.inc(part.size)
        return answer(PartObject.of(part))

    async def complete(self, call: ApiRequest) -> Response:
        asked = parse(CompleteUpload, await self._body(call))
        with _named_in_path(call) as upload:
            completed, file = await self._uploads.complete(
                call.tenant, upload, asked.part_ids, asked.md5
            )
        return answer(UploadObject.of(completed, file))

    async def cancel(self, call: ApiRequest) -> Response:
        """The body is not looked at: clients send none, but announce JSON."""
        with _named_in_path(call) as upload:
            return answer(UploadObject.of(await self._uploads.cancel(call.tenant, upload)))

    async def _body(self, call: ApiRequest) -> bytes:
        return await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)


async def _receive_part(form: MultipartForm, incoming: IncomingPart) -> UploadPart:
    """Store the content of ``form`` and keep it. Raises InvalidRequest."""
    async for field in form.parts():
        if field.name != "data":
            raise unrecognized(field.name)
        if incoming.started:
            raise InvalidRequest("Duplicate parameter: 'data'.", param="data")
        await incoming.store(field.chunks())
    return await incoming.keep()


@contextmanager
def _named_in_path(call: ApiRequest) -> Iterator[UploadId]:
    """The upload that the path names; when there is none the answer is 404."""
    given = call.request.path_params["upload_id"]
    if not plain_id(given):
        raise no_such_upload(given)
    try:
        yield UploadId(given)
    except NotFound:
        raise no_such_upload(given) from None


def no_such_upload(given: str) -> ApiError:
    return ApiError(404, f"No such Upload object: {excerpt(given)}", param="id")
