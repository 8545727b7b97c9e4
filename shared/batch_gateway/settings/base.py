"""Base types of all groups of settings."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsGroup(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InconsistentSettings(ValueError):
    """Settings of a group that are right one by one, and not together."""

    def __init__(self, text: str, group: SettingsGroup, *fields: str) -> None:
        """``fields`` of ``group``: a function that does not read all of them ignores the error."""
        super().__init__(text)
        self.group = group
        self.fields = fields


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
