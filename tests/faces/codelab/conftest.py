"""The gateway behind a server of its own, with a key between services for the tenant of `owner`."""

from __future__ import annotations

from typing import Any

import pytest

from tenants_app.models import Tenant
from tests.faces.codelab.ide import TEST_KEY
from tests.faces.native.conftest import api, gateway, server

__all__ = ["api", "gateway", "server"]


@pytest.fixture(autouse=True)
def _service_key(settings: Any, tenant: Tenant) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = [f"{TEST_KEY}:{tenant.slug}"]
    settings.GATEWAY_RECONNECT_GRACE = 0.0
