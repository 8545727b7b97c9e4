"""Prices of tokens: which one counts, and what it comes to."""

from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

from batch_gateway.core.model import TokenUsage
from batch_gateway.settings import Settings
from batch_gateway.web.openai_usage import decimal_text

DAY = date(2027, 3, 1)
USED = TokenUsage(input_tokens=1_000_000, cached_tokens=400_000, output_tokens=500_000)


def priced(monkeypatch, models, **others):
    monkeypatch.setenv("BATCH_GATEWAY_PRICES__MODELS", models)
    for name, value in others.items():
        monkeypatch.setenv(f"BATCH_GATEWAY_PRICES__{name}", value)
    return Settings().prices.price_list


def test_cached_tokens_have_their_own_price_and_batches_a_discount(monkeypatch):
    prices = priced(
        monkeypatch,
        '{"llama-*": {"input": 0.5, "cached_input": 0.1, "output": 1.5, "request": 0.001}}',
        BATCH_DISCOUNT="0.5",
        CURRENCY="EUR",
    )

    cost = prices.cost("llama-3", DAY, USED, completed=10)

    assert cost == (Decimal("0.3") + Decimal("0.04") + Decimal("0.75") + Decimal("0.01")) / 2
    assert prices.currency == "EUR"
    assert prices.cost("qwen", DAY, USED, completed=10) is None


def test_cached_tokens_cost_as_others_unless_they_have_a_price(monkeypatch):
    prices = priced(monkeypatch, '{"m": {"input": 1}}')

    assert prices.cost("m", DAY, USED, completed=1) == 1


def test_the_first_name_that_matches_counts(monkeypatch):
    prices = priced(monkeypatch, '{"a": {"input": 1}, "*": {"input": 2, "batch_discount": 0.25}}')

    assert prices.cost("a", DAY, USED, completed=1) == 1
    assert prices.cost("b", DAY, USED, completed=1) == Decimal("1.5")


def test_a_new_price_does_not_change_what_was_used_before(monkeypatch):
    prices = priced(monkeypatch, '{"m": [{"input": 1}, {"input": 3, "since": "2027-03-01"}]}')

    assert prices.cost("m", date(2027, 2, 28), USED, completed=1) == 1
    assert prices.cost("m", DAY, USED, completed=1) == 3


@pytest.mark.parametrize(
    "models", ["[]", '{"m": {"inptu": 1}}', '{"m": {"input": -1}}', '{"m": {"batch_discount": 2}}']
)
def test_a_wrong_price_is_refused(monkeypatch, models):
    with pytest.raises((ValidationError, ValueError)):
        priced(monkeypatch, models)


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0.0"), ("1E-7", "0.0000001"), ("12.50", "12.5"), ("1E+3", "1000.0")],
)
def test_amounts_are_written_without_exponents(value, text):
    assert decimal_text(Decimal(value)) == text
