"""Operators' routes: the session, the queue, tenants, dead letters and the audit log."""

from collections.abc import Mapping

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.ids import TenantId
from batch_gateway.ports.audit import AuditFilter
from batch_gateway.ports.event_sink import RawEventSink
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.dead_letters import replay
from batch_gateway.services.state_snapshot import ServiceState, StateReader
from batch_gateway.web.admin_objects import (
    AdminActivations,
    AdminDeadLetter,
    AdminDeadLetterDetail,
    AdminQueue,
    AdminTenant,
    AuditEntryObject,
    DeadLetterDeleted,
    DeadLetterReplayed,
    SessionObject,
)
from batch_gateway.web.api.admin_work import asked_page
from batch_gateway.web.api.path_ids import not_found, path_id
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.extensions import instant
from batch_gateway.web.openai import ListObject
from batch_gateway.web.parsing import choice, plain_id


class AdminRoutes:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        state: StateReader,
        sink: RawEventSink,
        weights: Mapping[str, float],
        max_activations: int,
        auth: str,
        currency: str,
    ) -> None:
        """``weights``: of tenants in the queue, 1 for others; ``auth``: the setting auth.kind."""
        self._metadata = metadata
        self._state = state
        self._sink = sink
        self._weights = weights
        self._max_activations = max_activations
        self._auth = auth
        self._currency = currency

    @property
    def routes(self) -> HandlersByPath:
        letter = "/v1/admin/dead_letters/{letter_id}"
        return {
            "/v1/session": {"GET": self.session},
            "/v1/admin/queue": {"GET": self.queue},
            "/v1/admin/tenants": {"GET": self.tenants},
            "/v1/admin/activations": {"GET": self.activations},
            "/v1/admin/dead_letters": {"GET": self.dead_letters},
            letter: {"GET": self.dead_letter, "DELETE": self.delete_dead_letter},
            f"{letter}/replay": {"POST": self.replay_dead_letter},
            "/v1/admin/audit": {"GET": self.audit},
        }

    async def session(self, call: ApiRequest) -> Response:
        return answer(SessionObject.of(call.identity, auth=self._auth, currency=self._currency))

    # -- the state --------------------------------------------------------------------------------

    async def queue(self, _call: ApiRequest) -> Response:
        return answer(AdminQueue.of(await self._state.state()))

    async def activations(self, _call: ApiRequest) -> Response:
        shared = (await self._known()).shared
        return answer(
            AdminActivations(
                running=0 if shared is None else shared.running,
                pending=0 if shared is None else shared.pending,
                maximum=self._max_activations,
            )
        )

    async def _known(self) -> ServiceState:
        """The state. Raises ApiError (503) while the coordination store is unavailable."""
        state = await self._state.state()
        if state.shared is None:
            raise ApiError(503, "The coordination store does not answer.", code="unavailable")
        return state

    async def tenants(self, call: ApiRequest) -> Response:
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

    async def dead_letters(self, call: ApiRequest) -> Response:
        limit, _ = asked_page(call)
        found = await self._metadata.dead_letters.list(limit=limit + 1)
        shown = [AdminDeadLetter.of(letter) for letter in found[:limit]]
        return answer(ListObject.of(shown, more=len(found) > limit))

    async def dead_letter(self, call: ApiRequest) -> Response:
        letter = await self._metadata.dead_letters.get(path_id(call, "letter_id"))
        if letter is None:
            raise not_found(call, "letter_id", "dead letter")
        return answer(AdminDeadLetterDetail.of(letter))

    async def delete_dead_letter(self, call: ApiRequest) -> Response:
        if not await self._metadata.dead_letters.drop(path_id(call, "letter_id")):
            raise not_found(call, "letter_id", "dead letter")
        return answer(DeadLetterDeleted(id=path_id(call, "letter_id")))

    async def replay_dead_letter(self, call: ApiRequest) -> Response:
        letter = await self._metadata.dead_letters.get(path_id(call, "letter_id"))
        if letter is None:
            raise not_found(call, "letter_id", "dead letter")
        await replay(letter, self._metadata.dead_letters, self._sink)
        return answer(DeadLetterReplayed(id=letter.id))

    # -- audit log --------------------------------------------------------------------------------

    async def audit(self, call: ApiRequest) -> Response:
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
    """Text that is valid in a database query. Raises InvalidRequest."""
    text = query.get(name)
    if text is not None and not plain_id(text):
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value")
    return text
