"""Settings of token prices."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from batch_gateway.core.prices import PriceList, TokenPrice
from batch_gateway.settings.base import SettingsGroup
from batch_gateway.settings.texts import MEMBERS

Money = Annotated[Decimal, Field(ge=0, le=10**9, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)]


class ModelPrice(SettingsGroup):
    """Prices of a million tokens each."""

    input: Money = Decimal(0)
    cached_input: Money | None = None
    output: Money = Decimal(0)
    request: Money = Decimal(0)
    batch_discount: Share | None = None
    since: date | None = None


class PriceSettings(SettingsGroup):
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Currency of all prices and costs, as ISO 4217 names it."""
    batch_discount: Share = Decimal(0)
    """Share of the prices that is taken off, from 0 to 1: 0.5 halves them. A model's own
    `batch_discount` goes before it."""
    models: Annotated[dict[str, ModelPrice | tuple[ModelPrice, ...]], *MEMBERS] = {}  # noqa: RUF012
    """Prices by model, as a JSON object: {"llama-*": {"input": 0.5, "cached_input": 0.1,
    "output": 1.5}}. Each is that of a million tokens; `request` is that of one request. `*` and `?`
    match any characters; the first name that matches counts. Several prices of one model, as an
    array, each have the day from which they are valid: "since": "2027-01-01". A model without a
    price has no cost."""

    @property
    def price_list(self) -> PriceList:
        return PriceList(
            currency=self.currency,
            discount=self.batch_discount,
            prices=[
                TokenPrice(
                    model=model,
                    input=price.input,
                    cached_input=price.cached_input,
                    output=price.output,
                    request=price.request,
                    discount=price.batch_discount,
                    since=price.since,
                )
                for model, given in self.models.items()
                for price in _several(given)
            ],
        )


class UsageSettings(SettingsGroup):
    keep_s: Annotated[int, Field(ge=0)] = 800 * 86400
    """How long the usage of a day is kept, in seconds; 0: for ever."""


class AuditSettings(SettingsGroup):
    keep_s: Annotated[int, Field(ge=0)] = 400 * 86400
    """How long entries of the audit log are kept, in seconds; 0: for ever."""


def _several(given: ModelPrice | tuple[ModelPrice, ...]) -> Iterable[ModelPrice]:
    return (given,) if isinstance(given, ModelPrice) else given
