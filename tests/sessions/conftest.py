"""The gateway with an engine that does what the test says."""

from __future__ import annotations

import pytest

from agents_app import registry
from tests.gateway_harness import api, gateway
from tests.scripted_engine import ScriptedEngine

__all__ = ["api", "gateway", "script"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Every leg runs on this engine; it echoes until it is told otherwise."""
    engine = ScriptedEngine()
    monkeypatch.setattr(registry, "engine_get", lambda name: engine)
    return engine
