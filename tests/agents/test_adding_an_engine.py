"""Executes docs/adding-an-engine.md: its engine, its settings, its requests and its tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from agents_app.engine import Engine
from agents_app.registry import engine_get
from tests.agents.engine_contract import EngineContract
from tests.gateway_harness import Client, api, gateway

__all__ = ["api", "gateway"]

GUIDE = Path(__file__).parents[2] / "docs" / "adding-an-engine.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def guide_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Performs steps 1 and 2 of the guide."""
    (tmp_path / "shout.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    name, _, value = blocks("sh")[0].strip().partition("=")
    assert name == "GATEWAY_ENGINES"
    settings.GATEWAY_ENGINES = [value]
    config = django_settings.GATEWAY_CONFIG.read_text(encoding="utf-8")
    added = config.replace("\nagents:\n", "\nagents:\n" + blocks("yaml")[0])
    assert added != config
    (tmp_path / "gateway.yaml").write_text(added, encoding="utf-8")
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    yield
    sys.modules.pop("shout", None)


@pytest.fixture
def engine(settings: Any) -> Engine:
    settings.GATEWAY_ENGINES = ["shout=shout"]
    return engine_get("shout")


class TestShoutKeepsTheContract(EngineContract):
    def situation(self, name: str) -> tuple[str, str]:
        prompts = {"answer": "hello there", "tool": 'use echo {"x": 1}', "later": "use later"}
        return "shout:shouter", prompts[name]


def test_the_guides_own_test_is_this_one() -> None:
    own = Path(__file__).read_text(encoding="utf-8")
    snippet = blocks("python")[1]
    assert snippet[snippet.index("@pytest.fixture") :].strip() in own


@pytest.mark.django_db(transaction=True)
async def test_the_guides_requests_are_answered_as_it_says(api: Client) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert '\'{"sessionId":"loud","agent":"shouter"}\'' in text
    assert (await api.post("/v1/sessions", {"sessionId": "loud", "agent": "shouter"})).status == 201
    answer = await api.post("/v1/sessions/loud/prompt?wait=60", {"text": "hello there"})
    assert answer.status == 200
    assert '"lastMessage":{"role":"assistant","content":"HELLO THERE "}' in answer.body.decode()
