"""Operators' routes for API keys."""

import secrets
from datetime import timedelta

from starlette.responses import Response

from batch_gateway.core.api_keys import (
    SECRET_BYTES,
    ApiKey,
    api_key_id,
    api_key_secret,
    digest_of,
)
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.ids import TenantId, tenant_id
from batch_gateway.core.scopes import DEFAULT_SCOPES, AccessScope
from batch_gateway.ports.api_keys import ApiKeyRows
from batch_gateway.ports.clock import Clock
from batch_gateway.web import body
from batch_gateway.web.admin_objects import AdminKey, AdminKeyWithSecret, CreateKey
from batch_gateway.web.api.admin_work import asked_page
from batch_gateway.web.api.path_ids import not_found, path_id
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.openai import ListObject
from batch_gateway.web.parsing import parse


class AdminKeyRoutes:
    def __init__(
        self, api_keys: ApiKeyRows, clock: Clock, *, max_bytes: int, idle_s: float
    ) -> None:
        """``max_bytes``: the largest body; ``idle_s``: how long a client may stop in the midst of
        one."""
        self._api_keys = api_keys
        self._clock = clock
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/admin/keys": {"GET": self.keys, "POST": self.create_key},
            "/v1/admin/keys/{key_id}/revoke": {"POST": self.revoke_key},
        }

    async def keys(self, call: ApiRequest) -> Response:
        """Oldest first; ``tenant`` limits them to one tenant."""
        limit, after = asked_page(call)
        tenant = call.request.query_params.get("tenant")
        found = list(await self._api_keys.list(None if tenant is None else TenantId(tenant)))
        names = [key.id for key in found]
        behind = found[names.index(after) + 1 :] if after in names else found
        shown = [AdminKey.of(key) for key in behind[:limit]]
        return answer(ListObject.of(shown, more=len(behind) > limit))

    async def create_key(self, call: ApiRequest) -> Response:
        raw = await body.read(call.request.receive, self._max_bytes, idle_s=self._idle_s)
        asked = parse(CreateKey, raw)
        owner = tenant_id(asked.tenant)
        if owner is None or not asked.name.isprintable():
            name = "tenant" if owner is None else "name"
            raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value")
        now = self._clock.now()
        secret = api_key_secret(secrets.token_bytes(SECRET_BYTES))
        lifetime = asked.expires_in_s
        key = ApiKey(
            id=api_key_id(secrets.token_bytes(8)),
            tenant=owner,
            name=asked.name,
            digest=digest_of(secret),
            created_at=now,
            expires_at=None if lifetime is None else now + timedelta(seconds=lifetime),
            scopes=frozenset(map(AccessScope, asked.scopes)) if asked.scopes else DEFAULT_SCOPES,
        )
        await self._api_keys.add(key)
        return answer(AdminKeyWithSecret.of(key, secret=secret))

    async def revoke_key(self, call: ApiRequest) -> Response:
        key = await self._api_keys.revoke(path_id(call, "key_id"), now=self._clock.now())
        if key is None:
            raise not_found(call, "key_id", "API key")
        return answer(AdminKey.of(key))
