"""All groups of settings in one object; see ``batch_gateway.settings``."""

from pydantic_settings import BaseSettings, SettingsConfigDict

from batch_gateway.settings.api import ApiSettings, AuthSettings, QuotaSettings
from batch_gateway.settings.dispatch import (
    EngineMonitorSettings,
    InferenceSettings,
    LimitSettings,
    RetrySettings,
)
from batch_gateway.settings.intake import DeadLetterSettings, IntakeSettings
from batch_gateway.settings.log import LogSettings
from batch_gateway.settings.metrics import MetricsSettings
from batch_gateway.settings.prices import AuditSettings, PriceSettings, UsageSettings
from batch_gateway.settings.probes import ProbeSettings
from batch_gateway.settings.queue import QueueSettings
from batch_gateway.settings.stores import (
    CoordinationSettings,
    EventSettings,
    FileSettings,
    MetadataSettings,
)
from batch_gateway.settings.tracing import TracingSettings
from batch_gateway.settings.webhooks import WebhookSettings
from batch_gateway.settings.work import (
    BatchSettings,
    ExecutionSettings,
    PlanningSettings,
    SweepSettings,
)

PREFIX = "BATCH_GATEWAY_"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    metadata: MetadataSettings = MetadataSettings()
    scratch: CoordinationSettings = CoordinationSettings()
    files: FileSettings = FileSettings()
    events: EventSettings = EventSettings()
    api: ApiSettings = ApiSettings()
    auth: AuthSettings = AuthSettings()
    quota: QuotaSettings = QuotaSettings()
    prices: PriceSettings = PriceSettings()
    usage: UsageSettings = UsageSettings()
    audit: AuditSettings = AuditSettings()
    batches: BatchSettings = BatchSettings()
    planning: PlanningSettings = PlanningSettings()
    execution: ExecutionSettings = ExecutionSettings()
    queue: QueueSettings = QueueSettings()
    sweep: SweepSettings = SweepSettings()
    webhooks: WebhookSettings = WebhookSettings()
    intake: IntakeSettings = IntakeSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    limits: LimitSettings = LimitSettings()
    watching: EngineMonitorSettings = EngineMonitorSettings()
    retry: RetrySettings = RetrySettings()
    inference: InferenceSettings = InferenceSettings()
    probes: ProbeSettings = ProbeSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
