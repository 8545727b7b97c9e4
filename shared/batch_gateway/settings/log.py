"""Settings of logs."""

from typing import Literal

from batch_gateway.settings.base import SettingsGroup


class LogSettings(SettingsGroup):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity of log records."""
    format: Literal["json", "text"] = "json"
    """json: one object per line, for log collectors; text: for terminals."""
