"""The whole gateway with tracing on and a scripted provider; spans are kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agents_app.registry import engine_get
from tests.agents.conftest import upstream, upstream_process
from tests.faces.native.conftest import server as socket_server
from tests.gateway_harness import api, gateway
from tests.tools.conftest import server
from tests.tracing.tree import Spans, spans_gathered

__all__ = ["api", "gateway", "server", "socket_server", "upstream", "upstream_process"]


@pytest.fixture
def spans(settings: Any, upstream: Any) -> Iterator[Spans]:
    """The exported spans; must precede `gateway`, which starts with the exporter."""
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    engine_get("model")
    with spans_gathered(settings) as gathered:
        yield gathered
