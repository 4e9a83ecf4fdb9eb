"""Whatever a session has stored, its next prompt is answered by a provider that refuses what real ones refuse.

`GATEWAY_TEST_HISTORIES=2000` draws as many histories; the suite draws fewer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agents_app.engine import Finished, HistoryMessage
from agents_app.registry import engine_get
from inference_app.catalogue.config import MODELS
from tests.agents.conftest import Upstream
from tests.agents.histories import CONFIG, TARGETS, histories
from tests.agents.recording_leg import World, session_of

EXAMPLES = int(os.environ.get("GATEWAY_TEST_HISTORIES", "60"))


@pytest.fixture(autouse=True)
def _checking(upstream: Upstream, settings: Any) -> None:
    text = CONFIG.format(url=upstream.url, root=upstream.url.removesuffix("/v1"))
    Path(settings.GATEWAY_CONFIG).write_text(text)
    MODELS.forget()


@hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    history=histories(),
    targets=st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2),
    policy=st.sampled_from(["truncate", "summarize"]),
    has_tools=st.booleans(),
)
async def test_the_next_prompt_is_answered_whatever_was_stored(
    history: Sequence[HistoryMessage], targets: Sequence[str], policy: Any, has_tools: bool
) -> None:
    spec = session_of(history_policy=policy)
    world = World(spec if has_tools else session_of(history_policy=policy, tools=()))
    world.history = list(history)
    for target in targets:
        world.session = session_of(target, history_policy=policy, tools=world.session.tools)
        world.prompt("And now?")
        outcome = await engine_get("model").run_leg(world.leg())
        assert outcome == Finished("Answered."), (target, outcome)
