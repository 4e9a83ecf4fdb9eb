"""What is sealed is opened under the present secret key and its fallbacks, and sealed under the present one alone."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import Unprocessable
from core_app.sealing import derive_former_keys, derive_key, reseal, seal, unseal

OLD, NEW = "old-key-of-these-tests", "new-key-of-these-tests"


@pytest.fixture
def sealed_secret(settings: Any) -> str:
    """Sealed under a key that is the former one now."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    text = seal("a secret")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    return text


def test_a_former_key_still_opens(sealed_secret: str) -> None:
    assert unseal(sealed_secret) == "a secret"


def test_without_the_former_key_it_is_said_what_to_do(sealed_secret: str, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = ["another"]
    with pytest.raises(Unprocessable, match="GATEWAY_SECRET_KEY"):
        unseal(sealed_secret)
    with pytest.raises(Unprocessable):
        reseal(sealed_secret)


def test_what_is_sealed_anew_needs_the_former_key_no_longer(sealed_secret: str, settings: Any) -> None:
    anew = reseal(sealed_secret)
    assert anew is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert unseal(anew) == "a secret"
    assert reseal(anew) is None


def test_a_fallback_seals_nothing(sealed_secret: str, settings: Any) -> None:
    fresh = seal("fresh")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    with pytest.raises(Unprocessable):
        unseal(fresh)


def test_what_was_derived_is_known_as_long_as_the_key_is(sealed_secret: str, settings: Any) -> None:
    former = derive_former_keys("purpose")
    assert derive_key("purpose") not in former
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    assert former == [derive_key("purpose")]
    assert derive_former_keys("purpose") == []
