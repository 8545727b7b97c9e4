"""Settings of the queue: shares of tenants, and urgency."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from batch_gateway.settings.base import SettingsGroup
from batch_gateway.settings.texts import MEMBERS

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class QueueSettings(SettingsGroup):
    tenant_weights: Annotated[dict[str, Weight], *MEMBERS] = {}  # noqa: RUF012 - pydantic copies it
    """How much of the fair lane a tenant gets, as JSON, such as {"acme": 2}; default 1. Tenants
    without work leave their share to the others."""
    urgent_margin_s: Annotated[float, Field(ge=0)] = 60
    """A batch is urgent when its deadline is this close, whatever is estimated."""
    urgent_safety: Annotated[float, Field(ge=1)] = 2.0
    """A batch is also urgent when the estimated remaining time, multiplied by this factor, exceeds
    the time to its deadline."""
    urgent_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Share of an executor's slots and leases that urgent work may take while other work waits:
    tight deadlines must not starve other tenants."""
    urgent_reserve: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of an executor's slots that is reserved for urgent work, so that it starts at once. It
    is idle otherwise."""

    @property
    def urgent_margin(self) -> timedelta:
        return timedelta(seconds=self.urgent_margin_s)
