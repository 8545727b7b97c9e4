"""``/v1/session``, and ``/v1/admin/...``: the service as a whole, for operators."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from batch_gateway.core.api_keys import (
    SECRET_BYTES,
    ApiKey,
    api_key_id,
    api_key_secret,
    digest_of,
)
from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.core.ids import TenantId, tenant_id
from batch_gateway.core.scopes import DEFAULT_SCOPES, Scope
from batch_gateway.ports.audit import AuditFilter
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.event_sink import RawSink
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.dead_letters import replay
from batch_gateway.services.state_snapshot import ServiceState, StateReader
from batch_gateway.web import body
from batch_gateway.web.admin_objects import (
    AdminActivations,
    AdminDeadLetter,
    AdminDeadLetterDetail,
    AdminKey,
    AdminKeyWithSecret,
    AdminQueue,
    AdminTenant,
    AuditEntryObject,
    CreateKey,
    DeadLetterDeleted,
    DeadLetterReplayed,
    SessionObject,
)
from batch_gateway.web.api.admin_work import AdminWorkRoutes, asked_page
from batch_gateway.web.api.routing import Call, Routes, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.extensions import instant
from batch_gateway.web.openai import ListObject
from batch_gateway.web.parsing import choice, parse, plain_id


class AdminRoutes:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        state: StateReader,
        work: AdminWorkRoutes,
        sink: RawSink,
        clock: Clock,
        weights: Mapping[str, float],
        max_activations: int,
        auth: str,
        currency: str,
        max_bytes: int,
        idle_s: float,
    ) -> None:
        """``weights``: of tenants in the queue, 1 for others; ``auth``: the authenticator's kind;
        ``max_bytes``: the largest body."""
        self._metadata = metadata
        self._state = state
        self._work = work
        self._sink = sink
        self._clock = clock
        self._weights = weights
        self._max_activations = max_activations
        self._auth = auth
        self._currency = currency
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    @property
    def routes(self) -> Routes:
        letter = "/v1/admin/dead_letters/{letter_id}"
        return {
            **self._work.routes,
            "/v1/session": {"GET": self.session},
            "/v1/admin/queue": {"GET": self.queue},
            "/v1/admin/tenants": {"GET": self.tenants},
            "/v1/admin/activations": {"GET": self.activations},
            "/v1/admin/dead_letters": {"GET": self.dead_letters},
            letter: {"GET": self.dead_letter, "DELETE": self.delete_dead_letter},
            f"{letter}/replay": {"POST": self.replay_dead_letter},
            "/v1/admin/keys": {"GET": self.keys, "POST": self.create_key},
            "/v1/admin/keys/{key_id}/revoke": {"POST": self.revoke_key},
            "/v1/admin/audit": {"GET": self.audit},
        }

    async def session(self, call: Call) -> Response:
        return answer(SessionObject.of(call.identity, auth=self._auth, currency=self._currency))

    # -- the state --------------------------------------------------------------------------------

    async def queue(self, _call: Call) -> Response:
        return answer(AdminQueue.of(await self._state.state()))

    async def activations(self, _call: Call) -> Response:
        shared = (await self._known()).shared
        return answer(
            AdminActivations(
                running=0 if shared is None else shared.running,
                pending=0 if shared is None else shared.pending,
                maximum=self._max_activations,
            )
        )

    async def _known(self) -> ServiceState:
        """The state. Raises ApiError with status 503 while the scratch server is unavailable."""
        state = await self._state.state()
        if state.shared is None:
            raise ApiError(503, "The scratch server does not answer.", code="unavailable")
        return state

    async def tenants(self, call: Call) -> Response:
        """In the order of the names, so that ``after`` continues behind one of them."""
        limit, after = asked_page(call)
        names = sorted([name async for name in self._metadata.accounts.tenants()])
        behind = [name for name in names if after is None or name > after]
        found = [
            AdminTenant.of(
                name, await self._metadata.accounts.get(name), self._weights.get(name, 1.0)
            )
            for name in behind[:limit]
        ]
        return answer(ListObject.of(found, more=len(behind) > limit))

    # -- dead letters -----------------------------------------------------------------------------

    async def dead_letters(self, call: Call) -> Response:
        limit, _ = asked_page(call)
        found = await self._metadata.dead_letters.list(limit=limit + 1)
        shown = [AdminDeadLetter.of(letter) for letter in found[:limit]]
        return answer(ListObject.of(shown, more=len(found) > limit))

    async def dead_letter(self, call: Call) -> Response:
        letter = await self._metadata.dead_letters.get(_asked(call, "letter_id"))
        if letter is None:
            raise _unknown(call, "letter_id", "dead letter")
        return answer(AdminDeadLetterDetail.of(letter))

    async def delete_dead_letter(self, call: Call) -> Response:
        if not await self._metadata.dead_letters.drop(_asked(call, "letter_id")):
            raise _unknown(call, "letter_id", "dead letter")
        return answer(DeadLetterDeleted(id=_asked(call, "letter_id")))

    async def replay_dead_letter(self, call: Call) -> Response:
        letter = await self._metadata.dead_letters.get(_asked(call, "letter_id"))
        if letter is None:
            raise _unknown(call, "letter_id", "dead letter")
        await replay(letter, self._metadata.dead_letters, self._sink)
        return answer(DeadLetterReplayed(id=letter.id))

    # -- keys -------------------------------------------------------------------------------------

    async def keys(self, call: Call) -> Response:
        """Oldest first; ``tenant`` limits them to one tenant."""
        limit, after = asked_page(call)
        tenant = call.request.query_params.get("tenant")
        found = list(
            await self._metadata.api_keys.list(None if tenant is None else TenantId(tenant))
        )
        names = [key.id for key in found]
        behind = found[names.index(after) + 1 :] if after in names else found
        shown = [AdminKey.of(key) for key in behind[:limit]]
        return answer(ListObject.of(shown, more=len(behind) > limit))

    async def create_key(self, call: Call) -> Response:
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
            scopes=frozenset(map(Scope, asked.scopes)) if asked.scopes else DEFAULT_SCOPES,
        )
        await self._metadata.api_keys.add(key)
        return answer(AdminKeyWithSecret.of(key, secret=secret))

    async def revoke_key(self, call: Call) -> Response:
        key = await self._metadata.api_keys.revoke(_asked(call, "key_id"), now=self._clock.now())
        if key is None:
            raise _unknown(call, "key_id", "API key")
        return answer(AdminKey.of(key))

    # -- audit log --------------------------------------------------------------------------------

    async def audit(self, call: Call) -> Response:
        """The newest entries first, as a list or as JSON lines."""
        query = call.request.query_params
        form = choice(query, "format", ["json", "jsonl"], default="json")
        limit, after = asked_page(call)
        tenant, action, target = (_word(query, n) for n in ("tenant", "action", "target"))
        only = AuditFilter(
            tenant=None if tenant is None else TenantId(tenant),
            action=action,
            target=target,
            since=instant(query, "since"),
            before=instant(query, "before"),
        )
        found = await self._metadata.audit.list(limit=limit + 1, after=after, only=only)
        shown = [AuditEntryObject.of(entry) for entry in found[:limit]]
        if form == "json":
            return answer(ListObject.of(shown, more=len(found) > limit))
        text = "".join(f"{entry.model_dump_json()}\n" for entry in shown)
        return Response(text, media_type="application/jsonl")


def _word(query: Mapping[str, str], name: str) -> str | None:
    """Text that a database can be asked for. Raises InvalidRequest."""
    text = query.get(name)
    if text is not None and not plain_id(text):
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value")
    return text


def _asked(call: Call, name: str) -> str:
    """An id in the path. Raises ApiError with status 404 for what can be none."""
    given: Any = call.request.path_params[name]
    if not plain_id(given):
        raise _unknown(call, name, "object")
    return str(given)


def _unknown(call: Call, name: str, kind: str) -> ApiError:
    return ApiError(404, f"No {kind} found with id '{excerpt(call.request.path_params[name])}'.")
