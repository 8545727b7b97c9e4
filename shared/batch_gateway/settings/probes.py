"""Settings of health checks."""

from batch_gateway.settings.base import Seconds, SettingsGroup


class ProbeSettings(SettingsGroup):
    tolerance_s: Seconds = 10.0
    """How long a store may be unavailable before a ready function becomes unready. A restart of
    Redis should not make every pod unready."""
    configuration_s: Seconds = 10.0
    """How often a process checks whether it runs on the newest settings. A process that finds newer
    settings twice in a row ends, and processes that have read them replace it."""
