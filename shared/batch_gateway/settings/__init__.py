"""All settings, grouped by concern; read once, in ``wiring``, and handed on group by group.

A function gets the settings that it reads and no others: ``readers`` says which.

Every field is an environment variable ``BATCH_GATEWAY_<GROUP>__<FIELD>`` and, with the embedded
platform, a key of the configuration file. Each field's docstring says its unit, what None means
and why the default is what it is; ``make settings-docs`` writes docs/settings.md from them.
"""

from batch_gateway.settings.api import Api, Auth, Quota
from batch_gateway.settings.base import Group, seconds
from batch_gateway.settings.dispatch import Inference, Limits, Retry, Watching
from batch_gateway.settings.intake import DeadLetters, Intake
from batch_gateway.settings.log import Log
from batch_gateway.settings.metrics import Metrics
from batch_gateway.settings.prices import Prices
from batch_gateway.settings.probes import Probes
from batch_gateway.settings.queue import Queue
from batch_gateway.settings.readers import (
    READS,
    calls_endpoints,
    only,
    reads_variable,
    sends_events,
)
from batch_gateway.settings.reading import WrongSetting, explained, read_settings
from batch_gateway.settings.root import Settings
from batch_gateway.settings.stores import Events, Files, Metadata, Scratch
from batch_gateway.settings.tracing import Tracing
from batch_gateway.settings.webhooks import Webhooks
from batch_gateway.settings.work import Batches, Execution, Planning, Sweep

__all__ = [
    "READS",
    "Api",
    "Auth",
    "Batches",
    "DeadLetters",
    "Events",
    "Execution",
    "Files",
    "Group",
    "Inference",
    "Intake",
    "Limits",
    "Log",
    "Metadata",
    "Metrics",
    "Planning",
    "Prices",
    "Probes",
    "Queue",
    "Quota",
    "Retry",
    "Scratch",
    "Settings",
    "Sweep",
    "Tracing",
    "Watching",
    "Webhooks",
    "WrongSetting",
    "calls_endpoints",
    "explained",
    "only",
    "read_settings",
    "reads_variable",
    "seconds",
    "sends_events",
]
