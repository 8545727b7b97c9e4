"""Dependencies that many services share, grouped by kind."""

from dataclasses import dataclass

from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.event_publisher import ActivationTrigger, EventPublisher
from batch_gateway.services.webhooks.outbox import WebhookOutbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    metadata: MetadataStore
    files: FileStore
    coordination: CoordinationStore


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSenders:
    """Events that a function sends to others, and to clients."""

    publisher: EventPublisher
    activation_trigger: ActivationTrigger
    webhook_outbox: WebhookOutbox
