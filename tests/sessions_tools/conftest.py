"""A gateway that may call this machine, and the server that receives its callbacks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway_harness import api, gateway
from tests.tools.conftest import server

__all__ = ["api", "gateway", "server"]


@pytest.fixture(autouse=True)
def _private_allowed(settings: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
