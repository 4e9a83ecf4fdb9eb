"""The complete gateway with the `model` engine on a scripted provider in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.registry import engine_get
from tests.agents.conftest import upstream, upstream_process
from tests.gateway_harness import api, gateway
from tests.tools.conftest import server

__all__ = ["api", "gateway", "server", "upstream", "upstream_process"]


@pytest.fixture(autouse=True)
def _over_the_upstream(settings: Any, upstream: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    # Imports happen once per process and must not count as time of a run.
    engine_get("model")
