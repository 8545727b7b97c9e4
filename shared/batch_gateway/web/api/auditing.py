"""Records in the audit log what requests change."""

import asyncio
import json
from collections.abc import Mapping

from starlette.responses import Response

from batch_gateway.core.audit import outcome_of
from batch_gateway.services.audit import AuditLog
from batch_gateway.web.api.routing import ApiRequest, Handler
from batch_gateway.web.body import ClientDisconnected
from batch_gateway.web.envelope import as_api_error

#: (method, path) -> the action in the log. Other requests change nothing that is recorded.
ACTIONS: Mapping[tuple[str, str], str] = {
    ("POST", "/v1/files"): "file.create",
    ("DELETE", "/v1/files/{file_id}"): "file.delete",
    ("POST", "/v1/uploads"): "upload.create",
    ("POST", "/v1/uploads/{upload_id}/complete"): "upload.complete",
    ("POST", "/v1/uploads/{upload_id}/cancel"): "upload.cancel",
    ("POST", "/v1/batches"): "batch.create",
    ("DELETE", "/v1/batches/{batch_id}"): "batch.delete",
    ("POST", "/v1/batches/{batch_id}/cancel"): "batch.cancel",
    ("POST", "/v1/batches/{batch_id}/pause"): "batch.pause",
    ("POST", "/v1/batches/{batch_id}/resume"): "batch.resume",
    ("POST", "/v1/batches/{batch_id}/update"): "batch.update",
    ("POST", "/v1/batches/{batch_id}/retry"): "batch.retry",
    ("POST", "/v1/webhook_endpoints"): "webhook_endpoint.create",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}"): "webhook_endpoint.update",
    ("DELETE", "/v1/webhook_endpoints/{endpoint_id}"): "webhook_endpoint.delete",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}/rotate_secret"): "webhook_endpoint.rotate_secret",
    ("POST", "/v1/webhook_endpoints/{endpoint_id}/test"): "webhook_endpoint.test",
    ("POST", "/v1/admin/batches/{batch_id}/cancel"): "batch.cancel",
    ("POST", "/v1/admin/keys"): "key.create",
    ("POST", "/v1/admin/keys/{key_id}/revoke"): "key.revoke",
    ("POST", "/v1/admin/dead_letters/{letter_id}/replay"): "dead_letter.replay",
    ("DELETE", "/v1/admin/dead_letters/{letter_id}"): "dead_letter.delete",
}


_OPERATORS = "/v1/admin/"
_AGAIN_S = 60.0
_MOST_CALLERS = 1000


def audited(method: str, path: str, handler: Handler, log: AuditLog) -> Handler:
    """``handler`` with each of its calls in the audit log, if the log has an action for it."""
    action = ACTIONS.get((method, path))
    if action is None:
        return handler

    async def recorded(call: ApiRequest) -> Response:
        try:
            response = await handler(call)
        except ClientDisconnected:  # before its request was complete: there is no request
            raise
        except Exception as error:
            await _record(log, action, call, as_api_error(error).status, None)
            raise
        await _record(log, action, call, response.status_code, _made(response))
        return response

    return recorded


class RefusedOperations:
    """Records requests of operators' routes by callers who are none.

    A caller's refusals of one action are recorded once within ``_AGAIN_S``, and those of
    `X
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._recorded: dict[tuple[str, str | None, str], float] = {}  # loop.time() when

    async def __call__(self, call: ApiRequest, path: str, status: int) -> None:
        if not path.startswith(_OPERATORS):
            return
        action = ACTIONS.get((call.request.method, path), "admin.read")
        caller = (call.identity.tenant, call.identity.api_key, action)
        if self._is_new(caller, asyncio.get_running_loop().time()):
            await _record(self._log, action, call, status, None)

    def _is_new(self, caller: tuple[str, str | None, str], now: float) -> bool:
        if len(self._recorded) >= _MOST_CALLERS:
            recent = {who: at for who, at in self._recorded.items() if now - at < _AGAIN_S}
            self._recorded = recent
        known = self._recorded.get(caller)
        if known is not None and now - known < _AGAIN_S:
            return False
        if known is None and len(self._recorded) >= _MOST_CALLERS:
            return False
        self._recorded[caller] = now
        return True


async def _record(
    log: AuditLog, action: str, call: ApiRequest, status: int, made: str | None
) -> None:
    request, identity = call.request, call.identity
    in_path = next(iter(request.path_params.values()), None)
    await log.record(
        action,
        outcome_of(status),
        tenant=identity.tenant,
        api_key=identity.api_key,
        operator=identity.operates and request.url.path.startswith(_OPERATORS),
        address=None if request.client is None else request.client.host,
        forwarded_for=request.headers.get("x-forwarded-for"),
        target=in_path or made,
        status_code=status,
    )


def _made(response: Response) -> str | None:
    """The id of what a request has made."""
    try:
        found = json.loads(bytes(response.body))
    except (AttributeError, ValueError, RecursionError):
        return None
    made = found.get("id") if isinstance(found, dict) else None
    return made if isinstance(made, str) else None
