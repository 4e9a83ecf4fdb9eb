"""Fixtures that every room's tests share: two tenants, and three people with keys to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import settings as hypothesis_settings

from core_app import database
from tenants_app.authentication import principal_for_secret
from tenants_app.key_cache import cache
from tenants_app.models import Tenant
from tenants_app.principal import SCOPES, Principal
from tenants_app.services import api_key_issue, tenant_create

# The same examples in every run: a search for new ones is a run of its own (GATEWAY_TEST_FUZZ=thorough).
hypothesis_settings.register_profile("gateway", derandomize=True, deadline=None)
hypothesis_settings.load_profile("gateway")


@pytest.fixture(autouse=True, scope="session")
def _tables_emptied_row_by_row() -> Iterator[None]:
    """A test leaves a few rows; TRUNCATE makes new files for every table and index, each with an fsync: 1 s a test."""

    def sql_flush(self: DatabaseOperations, _style: object, tables: Iterable[str], **_: object) -> list[str]:
        return ["; ".join(f"DELETE FROM {self.quote_name(table)}" for table in tables)] if tables else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield


@dataclass(frozen=True)
class Caller:
    """Somebody with an API key; `headers` are for Django's and httpx's clients alike."""

    secret: str
    principal: Principal

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.secret}


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    cache.clear()
    yield
    database.shutdown()
    cache.clear()


@pytest.fixture
def tenant(db: None) -> Tenant:
    return tenant_create(slug="acme")


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    return tenant_create(slug="rival")


@pytest.fixture
def owner(tenant: Tenant) -> Caller:
    """A key of `tenant` with every scope."""
    return caller(tenant, SCOPES)


@pytest.fixture
def colleague(tenant: Tenant) -> Caller:
    """A key of the same tenant without any scope."""
    return caller(tenant, ())


@pytest.fixture
def stranger(other_tenant: Tenant) -> Caller:
    """A key of another tenant with every scope."""
    return caller(other_tenant, SCOPES)


def caller(tenant: Tenant, scopes: Iterable[str], *, rpm: int | None = None) -> Caller:
    """A new key of `tenant`, and whom it makes its holder."""
    issued = api_key_issue(tenant=tenant, name="test key", scopes=scopes, rpm=rpm)
    return Caller(issued.secret, principal_for_secret(issued.secret))
