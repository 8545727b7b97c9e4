"""Prices of tokens per model, with a discount for batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase

from batch_gateway.core.model import TokenUsage

_PER = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """Prices of a million tokens each, in the currency of the price list."""

    model: str  # as requests name it; ``*`` and ``?`` match any characters
    input: Decimal = Decimal(0)
    cached_input: Decimal | None = None  # None: as ``input``
    output: Decimal = Decimal(0)
    request: Decimal = Decimal(0)  # of one request that was answered with success
    discount: Decimal | None = None  # share that is taken off, 0 to 1; None: the list's
    since: date | None = None  # valid from this day (UTC) on; None: always


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """The first price that names a model is its price; of those with the same ``model`` the one
    with the latest ``since`` that is not after the day."""

    currency: str = "USD"
    discount: Decimal = Decimal(0)  # share that is taken off, 0 to 1
    prices: Sequence[TokenPrice] = ()

    def price(self, model: str, day: date) -> TokenPrice | None:
        """The price of ``model`` on ``day``; None: it has none."""
        pattern = None
        found: TokenPrice | None = None
        for price in self.prices:
            if price.since is not None and price.since > day:
                continue
            if pattern is None and fnmatchcase(model, price.model):
                pattern, found = price.model, price
            elif (
                found is not None
                and price.model == pattern
                and (price.since or date.min) > (found.since or date.min)
            ):
                found = price
        return found

    def bound(self, usage: TokenUsage, completed: int) -> Decimal:
        """What ``usage`` costs at most, whichever models it is of."""

        def dearest(prices: Iterable[Decimal | None]) -> Decimal:
            return max((price for price in prices if price is not None), default=Decimal(0))

        tokens = usage.input_tokens * dearest(
            given for price in self.prices for given in (price.input, price.cached_input)
        ) + usage.output_tokens * dearest(price.output for price in self.prices)
        return tokens / _PER + completed * dearest(price.request for price in self.prices)

    def cost(self, model: str, day: date, usage: TokenUsage, completed: int) -> Decimal | None:
        """What ``usage`` of ``model`` costs, discount included; None: the model has no price."""
        price = self.price(model, day)
        if price is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        cached_price = price.input if price.cached_input is None else price.cached_input
        tokens = (
            price.input * (usage.input_tokens - cached)
            + cached_price * cached
            + price.output * usage.output_tokens
        )
        discount = self.discount if price.discount is None else price.discount
        return (tokens / _PER + price.request * completed) * (1 - discount)


def added(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of the costs that are known; None: none is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if known else None
