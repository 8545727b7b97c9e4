"""All settings, grouped by concern; read once, in ``wiring``, and handed on group by group.

A function gets the settings that it reads and no others: they are listed in ``readers``.

Every field is an environment variable ``BATCH_GATEWAY_<GROUP>__<FIELD>`` and, with the embedded
platform, a key of the configuration file. Each field's docstring states its unit, what None means
and why the default is what it is; ``make settings-docs`` writes docs/settings.md from them.
"""

from batch_gateway.settings.api import ApiSettings, AuthSettings, QuotaSettings
from batch_gateway.settings.base import SettingsGroup, seconds
from batch_gateway.settings.dispatch import (
    EngineMonitorSettings,
    InferenceSettings,
    LimitSettings,
    RetrySettings,
)
from batch_gateway.settings.intake import DeadLetterSettings, IntakeSettings
from batch_gateway.settings.log import LogSettings
from batch_gateway.settings.metrics import MetricsSettings
from batch_gateway.settings.prices import PriceSettings
from batch_gateway.settings.probes import ProbeSettings
from batch_gateway.settings.queue import QueueSettings
from batch_gateway.settings.readers import (
    READS,
    calls_endpoints,
    only,
    reads_variable,
    sends_events,
)
from batch_gateway.settings.reading import WrongSetting, explained, read_settings
from batch_gateway.settings.root import Settings
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

__all__ = [
    "READS",
    "ApiSettings",
    "AuthSettings",
    "BatchSettings",
    "CoordinationSettings",
    "DeadLetterSettings",
    "EngineMonitorSettings",
    "EventSettings",
    "ExecutionSettings",
    "FileSettings",
    "InferenceSettings",
    "IntakeSettings",
    "LimitSettings",
    "LogSettings",
    "MetadataSettings",
    "MetricsSettings",
    "PlanningSettings",
    "PriceSettings",
    "ProbeSettings",
    "QueueSettings",
    "QuotaSettings",
    "RetrySettings",
    "Settings",
    "SettingsGroup",
    "SweepSettings",
    "TracingSettings",
    "WebhookSettings",
    "WrongSetting",
    "calls_endpoints",
    "explained",
    "only",
    "read_settings",
    "reads_variable",
    "seconds",
    "sends_events",
]
