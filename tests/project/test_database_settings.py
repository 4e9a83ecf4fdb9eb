"""The connection parameters of PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project.configuration.databases import postgresql

URL = "postgresql://gateway@127.0.0.1:5432/gateway"


def options_of(url: str) -> Any:
    return postgresql(url, threads=48, lease_seconds=10.0, lock_seconds=3.0)["OPTIONS"]


def test_a_connection_that_nobody_answers_is_given_up_within_seconds() -> None:
    options = options_of(URL)
    assert options["connect_timeout"] == 5
    assert options["tcp_user_timeout"] == 30_000


def test_what_the_url_says_wins() -> None:
    options = options_of(f"{URL}?connect_timeout=2&sslmode=require")
    assert (options["connect_timeout"], options["sslmode"]) == (2, "require")


@pytest.mark.parametrize("secret", ["pass%word", "pass/word", "pass#word", "[pass"])
def test_a_password_that_is_not_encoded_is_a_sentence_without_it(secret: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        options_of(f"postgresql://gateway:{secret}@127.0.0.1:5432/gateway")
    assert "GATEWAY_DATABASE_URL" in str(refused.value)
    assert "percent-encoded" in str(refused.value)
    assert "pass" not in str(refused.value).replace("password", "")
