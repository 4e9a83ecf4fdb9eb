"""The harness's fixtures for a file of many small tests: one gateway and the same callers for all of them.

A module imports these names in place of those of its conftest, and runs on its loop
(`pytest.mark.asyncio(loop_scope="module")`). Its tests see the rows of the others, so they count only their own; after
the last one every session is compared with its log, and the tables are emptied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from django.test import TransactionTestCase, override_settings

from tenants_app.models import Tenant
from tenants_app.principal import SCOPES
from tenants_app.services import tenant_create
from tests.conftest import Caller, caller
from tests.gateway_harness import SETTINGS, Client, GatewayHarness, gateway_lived

HERE = pytest.mark.asyncio(loop_scope="module")
"""The mark of a module that shares a gateway."""


@pytest.fixture(scope="module")
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The database of the whole file; by this name pytest-django recognises that tests need one."""
    with django_db_blocker.unblock():
        yield
        TransactionTestCase("__init__")._fixture_teardown()  # type: ignore[attr-defined]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(transactional_db: None) -> AsyncIterator[GatewayHarness]:
    """The gateway, started before the first test and ended after the last."""
    with override_settings(**SETTINGS):
        async with gateway_lived() as harness:
            yield harness


@pytest.fixture(scope="module")
def tenant(transactional_db: None) -> Tenant:
    return tenant_create(slug="acme")


@pytest.fixture(scope="module")
def owner(tenant: Tenant) -> Caller:
    """A key of `tenant` with every scope."""
    return caller(tenant, SCOPES)


@pytest.fixture(scope="module")
def colleague(tenant: Tenant) -> Caller:
    """A key of the same tenant without any scope."""
    return caller(tenant, ())


@pytest.fixture(scope="module")
def stranger(transactional_db: None) -> Caller:
    """A key of another tenant with every scope."""
    return caller(tenant_create(slug="rival"), SCOPES)


@pytest.fixture(scope="module")
def api(gateway: GatewayHarness, owner: Caller) -> Client:
    """A client with every scope."""
    return gateway.client(owner)
