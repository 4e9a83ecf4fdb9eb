"""A gateway whose sessions run on a scripted engine."""

from __future__ import annotations

import pytest

from agents_app import registry
from tests.gateway_harness import api, gateway
from tests.scripted_engine import ScriptedEngine

__all__ = ["api", "gateway", "script"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine of every leg. It echoes the prompt unless the test sets another behaviour."""
    engine = ScriptedEngine()
    monkeypatch.setattr(registry, "engine_get", lambda name: engine)
    return engine
