"""What every connection to PostgreSQL is opened with."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project import settings

URL = "postgresql://gateway@127.0.0.1:5432/gateway"


def test_a_connection_that_nobody_answers_is_given_up_within_seconds() -> None:
    options = settings._postgresql(URL)["OPTIONS"]
    assert options["connect_timeout"] == 5
    assert options["tcp_user_timeout"] == 30_000


def test_what_the_url_says_wins() -> None:
    options = settings._postgresql(f"{URL}?connect_timeout=2&sslmode=require")["OPTIONS"]
    assert (options["connect_timeout"], options["sslmode"]) == (2, "require")


@pytest.mark.parametrize("secret", ["pass%word", "pass/word", "pass#word", "[pass"])
def test_a_password_that_is_not_encoded_is_a_sentence_without_it(secret: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        settings._postgresql(f"postgresql://gateway:{secret}@127.0.0.1:5432/gateway")
    assert "GATEWAY_DATABASE_URL" in str(refused.value)
    assert "percent-encoded" in str(refused.value)
    assert "pass" not in str(refused.value).replace("password", "")
