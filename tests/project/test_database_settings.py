"""The connection parameters of PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_project.configuration.databases import postgresql
from tests.settings import DEPLOYMENT

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


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("db1:5433,db2:5434", "db1,db2", "5433,5434"),
        ("db1,db2:5434", "db1,db2", "5432,5434"),
        ("db1,db2,db3", "db1,db2,db3", "5432,5432,5432"),
        ("[::1]:5433,10.0.0.2", "::1,10.0.0.2", "5433,5432"),
    ],
)
def test_a_url_may_name_several_hosts(hosts: str, host: str, port: str) -> None:
    url = f"postgresql://gate%40way:pass%2Fword@{hosts}/gateway?target_session_attrs=read-write"
    found = postgresql(url, threads=48, lease_seconds=10.0, lock_seconds=3.0)
    assert (found["HOST"], found["PORT"]) == (host, port)
    assert (found["USER"], found["PASSWORD"], found["NAME"]) == ("gate@way", "pass/word", "gateway")
    assert found["OPTIONS"]["target_session_attrs"] == "read-write"


@pytest.mark.parametrize("hosts", ["db1:port,db2", "db1,,db2", ",db2"])
def test_several_hosts_that_cannot_be_read_are_a_sentence(hosts: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_DATABASE_URL"):
        options_of(f"postgresql://gateway@{hosts}/gateway")


def test_one_host_is_read_as_ever() -> None:
    found = postgresql(URL, threads=48, lease_seconds=10.0, lock_seconds=3.0)
    assert (found["HOST"], found["PORT"]) == ("127.0.0.1", 5432)


def test_waits_for_locks_and_idle_transactions_are_bounded() -> None:
    """An idle transaction ends within a quarter of a lease, because leases are renewed every quarter."""
    options = options_of(URL)["options"]
    assert "-c idle_in_transaction_session_timeout=2500" in options
    assert "-c lock_timeout=3000" in options


def test_a_connection_does_not_last_for_an_hour() -> None:
    assert options_of(URL)["pool"]["max_lifetime"] <= 600


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="a server that answers is needed")
def test_the_first_of_several_hosts_that_takes_writes_is_connected_to() -> None:
    """Nobody listens at the first."""
    given = settings.DATABASES["default"]
    url = f"postgresql://{given['USER']}@127.0.0.1:1,{given['HOST']}:{given['PORT'] or 5432}/postgres"
    found = postgresql(f"{url}?target_session_attrs=read-write", threads=1, lease_seconds=10.0, lock_seconds=3.0)
    with psycopg.connect(
        host=found["HOST"],
        port=found["PORT"],
        user=found["USER"],
        password=given["PASSWORD"] or None,
        dbname=found["NAME"],
        target_session_attrs=found["OPTIONS"]["target_session_attrs"],
    ) as connected:
        row = connected.execute("SHOW transaction_read_only").fetchone()
    assert row == ("off",)
