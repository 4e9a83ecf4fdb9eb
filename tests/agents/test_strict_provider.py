"""The agent loop with a provider that rejects unknown fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents_app.engine import Finished
from agents_app.registry import engine_get
from inference_app.catalogue.config import MODELS
from tests.agents.conftest import Upstream
from tests.agents.recording_leg import World, session_of


@pytest.fixture(autouse=True)
def _strict(upstream: Upstream, settings: Any) -> None:
    file = Path(settings.GATEWAY_CONFIG)
    entry = f'    strict: {{base_url: "{upstream.url}", api_key: none, refuses: [stream_options]}}'
    file.write_text(file.read_text().replace("  providers:", f"  providers:\n{entry}"))
    MODELS.forget()


async def test_a_field_that_it_refuses_is_not_sent(upstream: Upstream) -> None:
    world = World(session_of("strict:hello"))
    world.prompt("Hi")
    assert isinstance(await engine_get("model").run_leg(world.leg()), Finished)
    assert "stream_options" not in upstream.requests()[0]
