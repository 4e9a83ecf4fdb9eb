"""What every connection to PostgreSQL is opened with."""

from __future__ import annotations

from gateway_project import settings

URL = "postgresql://gateway@127.0.0.1:5432/gateway"


def test_a_connection_that_nobody_answers_is_given_up_within_seconds() -> None:
    options = settings._postgresql(URL)["OPTIONS"]
    assert options["connect_timeout"] == 5
    assert options["tcp_user_timeout"] == 30_000


def test_what_the_url_says_wins() -> None:
    options = settings._postgresql(f"{URL}?connect_timeout=2&sslmode=require")["OPTIONS"]
    assert (options["connect_timeout"], options["sslmode"]) == (2, "require")
