"""JSON objects of the operators' API and of the session."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from batch_gateway.core.api_keys import ApiKey
from batch_gateway.core.audit import AuditEntry
from batch_gateway.core.dead_letters import DeadLetter, readable
from batch_gateway.core.ids import TenantId
from batch_gateway.core.pool_history import PoolSample
from batch_gateway.core.quotas import QuotaUsage
from batch_gateway.core.routing import ModelEndpoint
from batch_gateway.core.scopes import ordered
from batch_gateway.ports.coordination import PoolState
from batch_gateway.services.state_snapshot import ServiceState
from batch_gateway.web.identity import Identity
from batch_gateway.web.openai import RequestModel, Text, whole_seconds

ScopeName = Literal["read", "submit", "operate"]


class SessionObject(BaseModel):
    object: Literal["session"] = "session"
    tenant: str
    api_key_id: str | None
    scopes: list[ScopeName]
    operator: bool
    auth: Literal["none", "api-key", "oidc", "trusted-header"]
    currency: str

    @classmethod
    def of(cls, identity: Identity, *, auth: Any, currency: str) -> Self:
        return cls(
            tenant=identity.tenant,
            api_key_id=identity.api_key,
            scopes=ordered(identity.scopes),
            operator=identity.operates,
            auth=auth,
            currency=currency,
        )


class LastBrake(BaseModel):
    brake: str
    reason: str
    at: int


class EngineSignal(BaseModel):
    brake: str
    reason: str
    users_wait: bool
    ttft_ms: float | None
    running: float | None
    waiting: float | None
    cache: float | None


class PoolSampleObject(BaseModel):
    at: int
    limit: float
    in_use: int


class AdminPool(BaseModel):
    id: str
    object: Literal["admin.pool"] = "admin.pool"
    endpoint: str
    limit: float
    granted: int
    in_use: int
    wanted: int
    executors: int
    aborted: int
    last_brake: LastBrake | None
    signal: EngineSignal | None
    breaker: Literal["closed", "open", "unauthorized"] | None
    ceiling: int | None
    ceiling_changes_at: int | None
    history: list[PoolSampleObject] | None

    @classmethod
    def of(
        cls,
        pool: PoolState,
        endpoint: ModelEndpoint | None,
        now: datetime,
        usual: int,
        history: Sequence[PoolSample] | None = None,
    ) -> Self:
        """``endpoint`` None: no route names it; ``usual``: the ceiling of other endpoints."""
        limit, signal = pool.limit, pool.signal
        return cls(
            id=pool.pool,
            endpoint=pool.endpoint,
            limit=limit.limit,
            granted=pool.granted,
            in_use=pool.in_use,
            wanted=pool.wanted,
            executors=pool.holders,
            aborted=pool.aborted,
            last_brake=None
            if limit.last_brake is None or limit.braked_at is None
            else LastBrake(
                brake=limit.last_brake.value,
                reason=limit.reason or "",
                at=int(limit.braked_at.timestamp()),
            ),
            signal=None
            if signal is None
            else EngineSignal(
                brake=signal.brake.value,
                reason=signal.reason,
                users_wait=signal.users_wait,
                ttft_ms=signal.ttft_ms,
                running=signal.running,
                waiting=signal.waiting,
                cache=signal.cache,
            ),
            breaker=None if pool.breaker is None else pool.breaker.value,
            ceiling=None if endpoint is None else endpoint.ceiling(now, usual),
            ceiling_changes_at=None
            if endpoint is None
            else whole_seconds(endpoint.next_change(now, usual)),
            history=None
            if history is None
            else [
                PoolSampleObject(at=int(one.at.timestamp()), limit=one.limit, in_use=one.in_flight)
                for one in history
            ],
        )


class QueueShards(BaseModel):
    ready: int
    leased: int
    reserved: int


class ModelBacklog(BaseModel):
    model: str
    requests: int


class TenantBatches(BaseModel):
    tenant: str
    count: int


class AdminQueue(BaseModel):
    object: Literal["admin.queue"] = "admin.queue"
    shards: QueueShards | None
    batches: dict[str, int] | None
    first_deadline: int | None
    backlog: list[ModelBacklog]
    open_batches: list[TenantBatches]
    full_stores: list[str]
    last_dead_letter_at: int | None

    @classmethod
    def of(cls, state: ServiceState) -> Self:
        stored, shared = state.stored, state.shared
        backlog = None if stored is None else stored.backlog
        return cls(
            shards=None
            if shared is None
            else QueueShards(
                ready=shared.depth.ready,
                leased=shared.depth.leased,
                reserved=shared.depth.reserved,
            ),
            batches=None
            if stored is None
            else {status.value: number for status, number in stored.batches.items()},
            first_deadline=None if backlog is None else whole_seconds(backlog.first_deadline),
            backlog=[]
            if backlog is None
            else [
                ModelBacklog(model=model, requests=requests)
                for model, requests in sorted(backlog.requests.items())
            ],
            open_batches=[]
            if backlog is None
            else [
                TenantBatches(tenant=tenant, count=number)
                for tenant, number in sorted(backlog.open_batches.items())
            ],
            full_stores=[] if shared is None else list(shared.full),
            last_dead_letter_at=None if stored is None else whole_seconds(stored.last_dead),
        )


class AdminActivations(BaseModel):
    object: Literal["admin.activations"] = "admin.activations"
    running: int
    pending: int
    maximum: int


class AdminTenant(BaseModel):
    id: str
    object: Literal["admin.tenant"] = "admin.tenant"
    files: int
    stored_bytes: int
    open_batches: int
    queued_requests: int
    weight: float

    @classmethod
    def of(cls, tenant: TenantId, account: QuotaUsage, weight: float) -> Self:
        return cls(
            id=tenant,
            files=account.files,
            stored_bytes=account.stored_bytes,
            open_batches=account.open_batches,
            queued_requests=account.queued_requests,
            weight=weight,
        )


class AdminDeadLetter(BaseModel):
    id: str
    object: Literal["admin.dead_letter"] = "admin.dead_letter"
    event_id: str
    event_type: str
    source: str
    subject: str | None
    target: str
    code: str
    reason: str
    died_at: int

    @classmethod
    def fields_of(cls, letter: DeadLetter) -> Mapping[str, Any]:
        told = letter.attributes
        return {
            "id": letter.id,
            "event_id": told.get("id", ""),
            "event_type": told.get("type", ""),
            "source": told.get("source", ""),
            "subject": told.get("subject"),
            "target": letter.target,
            "code": letter.code,
            "reason": readable(letter.reason),
            "died_at": int(letter.died_at.timestamp()),
        }

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        return cls(**cls.fields_of(letter))


class AdminDeadLetterDetail(AdminDeadLetter):
    attributes: dict[str, str]
    data: str

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        return cls(
            **cls.fields_of(letter),
            attributes=dict(letter.attributes),
            data=letter.data.decode(errors="replace"),
        )


class DeadLetterReplayed(BaseModel):
    id: str
    object: Literal["admin.dead_letter"] = "admin.dead_letter"
    replayed: Literal[True] = True


class DeadLetterDeleted(BaseModel):
    id: str
    object: Literal["admin.dead_letter"] = "admin.dead_letter"
    deleted: Literal[True] = True


class CreateKey(RequestModel):
    tenant: Annotated[Text, Field(min_length=1, max_length=128)]
    name: Annotated[Text, Field(max_length=128)] = ""
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)] | None = None
    expires_in_s: Annotated[int, Field(ge=60, le=10 * 366 * 86_400)] | None = None


class AdminKey(BaseModel):
    id: str
    object: Literal["admin.key"] = "admin.key"
    tenant: str
    name: str
    scopes: list[ScopeName]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    @classmethod
    def of(cls, key: ApiKey, **more: Any) -> Self:
        return cls(
            id=key.id,
            tenant=key.tenant,
            name=key.name,
            scopes=ordered(key.scopes),
            created_at=int(key.created_at.timestamp()),
            expires_at=whole_seconds(key.expires_at),
            revoked_at=whole_seconds(key.revoked_at),
            last_used_at=whole_seconds(key.last_used_at),
            **more,
        )


class AdminKeyWithSecret(AdminKey):
    secret: str


class AuditEntryObject(BaseModel):
    id: str
    object: Literal["audit.entry"] = "audit.entry"
    at: str  # RFC 3339, in UTC
    action: str
    outcome: Literal["ok", "refused", "failed"]
    tenant: str | None
    api_key_id: str | None
    operator: bool
    address: str | None
    forwarded_for: str | None
    target: str | None
    status_code: int | None

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        return cls(
            id=entry.id,
            at=_rfc3339(entry.at),
            action=entry.action,
            outcome=entry.outcome.value,
            tenant=entry.tenant,
            api_key_id=entry.api_key,
            operator=entry.operator,
            address=entry.address,
            forwarded_for=entry.forwarded_for,
            target=entry.target,
            status_code=entry.status_code,
        )


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
