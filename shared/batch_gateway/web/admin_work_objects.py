"""JSON objects of batches and functions in the operators' API."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel

from batch_gateway.core.function_instances import FunctionInstance
from batch_gateway.core.model import Batch
from batch_gateway.core.webhooks import WebhookDelivery, WebhookEndpoint
from batch_gateway.web.extensions import ExtendedBatchObject
from batch_gateway.web.openai import RequestCounts, whole_seconds
from batch_gateway.web.openai_webhooks import WebhookDeliveryObject


class AdminBatch(BaseModel):
    id: str
    object: Literal["admin.batch"] = "admin.batch"
    tenant: str
    status: str
    model: str | None
    priority: int
    paused: bool
    urgent: bool | None
    blocked_reason: str | None
    request_counts: RequestCounts
    created_at: int
    expires_at: int
    estimated_completion_at: int | None
    ended_at: int | None

    @classmethod
    def of(cls, batch: Batch, *, urgent: bool | None) -> Self:
        """``urgent``: whether its ready shards are in the urgent lane; None: it has none."""
        return cls(
            id=batch.id,
            tenant=batch.tenant,
            status=batch.status.value,
            model=batch.model,
            priority=batch.priority,
            paused=batch.paused,
            urgent=urgent,
            blocked_reason=batch.blocked_reason,
            request_counts=RequestCounts(
                total=batch.counts.total,
                completed=batch.counts.completed,
                failed=batch.counts.failed,
            ),
            created_at=int(batch.created_at.timestamp()),
            expires_at=int(batch.deadline.timestamp()),
            estimated_completion_at=whole_seconds(batch.estimated_completion_at),
            ended_at=int(batch.status_since.timestamp()) if batch.terminal else None,
        )


class AdminBatchDetail(ExtendedBatchObject):
    tenant: str
    urgent: bool | None

    @classmethod
    def fields_with(cls, batch: Batch, *, urgent: bool | None) -> dict[str, Any]:
        """``urgent``: as in ``AdminBatch``."""
        return {**cls.fields(batch), "tenant": batch.tenant, "urgent": urgent}


class AdminDelivery(WebhookDeliveryObject):
    """Without the endpoint's URL, which often holds a secret of its receiver."""

    endpoint_id: str
    endpoint_name: str

    @classmethod
    def to(cls, endpoint: WebhookEndpoint, delivery: WebhookDelivery) -> Self:
        fields = WebhookDeliveryObject.of(delivery).model_dump()
        return cls(**fields, endpoint_id=endpoint.id, endpoint_name=endpoint.name)


class RunningInstance(BaseModel):
    id: str
    started_at: int


class InstanceCount(BaseModel):
    at: int
    instances: int


class AdminFunction(BaseModel):
    id: str
    object: Literal["admin.function"] = "admin.function"
    instances: list[RunningInstance]
    history: list[InstanceCount]

    @classmethod
    def of(
        cls,
        name: str,
        instances: Iterable[FunctionInstance],
        counts: Sequence[tuple[datetime, int]],
    ) -> Self:
        running = [one for one in instances if one.ended_at is None]
        return cls(
            id=name,
            instances=[
                RunningInstance(id=one.id, started_at=int(one.started_at.timestamp()))
                for one in sorted(running, key=lambda one: (one.started_at, one.id))
            ],
            history=[InstanceCount(at=int(at.timestamp()), instances=n) for at, n in counts],
        )
