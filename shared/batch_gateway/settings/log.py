"""What a process writes about itself."""

from typing import Literal

from batch_gateway.settings.base import Group


class Log(Group):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["json", "text"] = "json"
    """json: one object per line, for collectors; text: for people."""
