"""Prices of responses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from inference_app.catalogue.config import ProviderEntry, parse
from inference_app.spend.prices import response_cost


def priced_provider(**price: Any) -> ProviderEntry:
    models = [{"id": "m", "price": price}, "unpriced"]
    return parse({"providers": {"p": {"base_url": "http://p", "api_key": "none", "models": models}}}).providers["p"]


def cost(provider: ProviderEntry, model: str = "m", listed: Decimal | None = None, cached: int = 0) -> Decimal | None:
    return response_cost(
        provider, model, input_tokens=1_000_000, output_tokens=500_000, cached_tokens=cached, listed=listed
    )


def test_the_configured_price_wins_over_the_listed_one() -> None:
    assert cost(priced_provider(input=2, output=4), listed=Decimal(99)) == Decimal(4)


def test_a_price_of_nothing_is_known_to_be_nothing() -> None:
    assert cost(priced_provider(input=0, output=0), listed=Decimal(99)) == 0


def test_cached_input_has_a_price_of_its_own_where_one_is_given() -> None:
    assert cost(priced_provider(input=2, output=0, cached=0.5), cached=1_000_000) == Decimal("0.5")
    assert cost(priced_provider(input=2, output=0), cached=1_000_000) == Decimal(2)


@pytest.mark.parametrize("listed", [None, Decimal("1.25")])
@pytest.mark.parametrize("model", ["unpriced", "unheard-of"])
def test_without_a_configured_price_the_listed_one_holds_or_none(model: str, listed: Decimal | None) -> None:
    assert cost(priced_provider(input=2, output=4), model, listed) == listed
