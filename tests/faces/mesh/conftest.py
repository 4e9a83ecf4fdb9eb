"""A gateway with agents whose legs run on a scripted engine: `by_agent` says what each does; others echo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agents_app import registry
from agents_app.engine import Leg, LegOutcome
from tests.gateway_harness import Answer, Client, EventReader, api, gateway
from tests.scripted_engine import Behaviour, ScriptedEngine, echo

__all__ = ["api", "gateway"]

CONFIG = """
agents:
  - {id: echo, name: Echo, type: model, model: "demo:echo", capabilities: [echo, code-review]}
  - {id: one, name: One, type: model, model: "demo:echo", capabilities: [anything]}
  - {id: two, name: Two, type: model, model: "demo:echo"}
  - {id: absent, name: Absent, type: model, model: "nobody/has-this"}
routing:
  defaultAgent: one
  rules:
    - {name: reviews, keywords: [code review, 代码审查], agent: echo, priority: 10}
    - {name: everybody, keywords: [everybody], agents: [one, two], strategy: broadcast}
"""


class Script(ScriptedEngine):
    """Runs each agent's legs as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.by_agent: dict[str, Behaviour] = {}

    async def run_leg(self, leg: Leg) -> LegOutcome:
        self.begun += 1
        return await self.by_agent.get(leg.session.agent or "", echo)(leg)


@pytest.fixture(autouse=True)
def script(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Script:
    """The engine of every leg, with this module's configuration in force."""
    engine = Script()
    monkeypatch.setattr(registry, "engine_get", lambda name: engine)
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    settings.GATEWAY_ARTIFACTS_DIR = tmp_path / "artifacts"
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "artifacts"},
        },
    }
    return engine


async def submit(client: Client, text: str, **more: Any) -> str:
    """Submits a task and returns its id. `more` has fields of the AgentMessage, or of its payload."""
    payload = {name: more.pop(name) for name in ("context", "files", "options") if name in more}
    answer = await client.post("/tasks", {"type": "request", **more, "payload": {"task": text, **payload}})
    assert answer.status == 202, answer.body
    return str(answer.json["task_id"])


@asynccontextmanager
async def live(
    client: Client, *, path: str = "/events", last_id: Any = None, **query: Any
) -> AsyncIterator[EventReader]:
    """Follows the tenant's live events, after `welcome`."""
    async with client.events("", path=path, last_id=last_id, **query) as reader:
        await reader.next_of("welcome")
        yield reader


async def ended(client: Client, task_id: str) -> dict[str, Any]:
    """Waits for the end of a task and returns it."""
    async with client.events("", path="/events", taskId=task_id) as reader:
        first = await reader.next_of("task_status")
        if first.data["task"]["status"] not in ("completed", "failed", "cancelled"):
            await reader.next_of("task.completed", "task.failed")
    return dict((await client.get(f"/tasks/{task_id}")).json)


def mesh_error(answer: Answer) -> tuple[int, str]:
    """Returns the status and the code of an error."""
    return answer.status, answer.json["error"]["code"]
