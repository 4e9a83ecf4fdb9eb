"""Background responses survive the kill of their worker, of the web process, and of both in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk

from tests.agents.conftest import Upstream
from tests.faces.responses.conftest import start_upstream
from tests.settings import DEPLOYMENT
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY, Deployment
from tests.stack.fleet import SETTINGS, WorkerProcess
from tests.stack.process import GatewayProcess

CONFIG = 'models: {{providers: {{plain: {{base_url: "{url}", api_key: none}}}}}}\n'
PIECES = 60
MODEL = f"plain:slow:50:{PIECES}"
TEXT = "".join(f"word{number} " for number in range(PIECES))


@pytest.fixture
def plain() -> Iterator[Upstream]:
    """A provider that speaks only chat completions."""
    yield from start_upstream("tests.faces.responses.upstream")


class Site:
    """A gateway: one process, or a web process and a worker."""

    def __init__(self, directory: Path, deployment: Deployment, upstream: Upstream) -> None:
        config = directory / "gateway.yaml"
        config.write_text(CONFIG.format(url=upstream.url), encoding="utf-8")
        deployment = replace(deployment, settings={**deployment.settings, "CONFIG": str(config)})
        if DEPLOYMENT == "distributed":
            deployment = replace(deployment, settings={**SETTINGS, **deployment.settings})
        self.web = GatewayProcess(deployment, "web")
        self.worker = WorkerProcess(deployment, "worker") if DEPLOYMENT == "distributed" else self.web
        self.client = openai.AsyncOpenAI(base_url=f"{self.web.url}/v1", api_key=KEY, max_retries=0)

    @property
    def processes(self) -> list[GatewayProcess]:
        return list(dict.fromkeys([self.web, self.worker]))

    async def start(self) -> None:
        for process in self.processes:
            if not process.alive:
                await process.start()

    async def has_ended(self, response_id: str) -> bool:
        try:
            response = await self.client.responses.retrieve(response_id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return False
        return response.status not in ("queued", "in_progress")


@pytest_asyncio.fixture
async def site(tmp_path: Path, plain: Upstream) -> Any:
    """A running site; it ends with the test."""
    (tmp_path / "data").mkdir(mode=0o700)
    with ExitStack() as stack:
        site = Site(tmp_path, deployment_of(tmp_path / "data", stack), plain)
        for process in site.processes:
            stack.callback(process.end)
        await site.start()
        async with site.client:
            yield site


async def read_until(events: Any, deltas: int) -> list[Any]:
    """Returns the events up to some delta of text."""
    seen: list[Any] = []
    async for event in events:
        seen.append(event)
        deltas -= event.type == "response.output_text.delta"
        if not deltas:
            return seen
    raise AssertionError(f"the stream ended: {seen[-1]}")


async def all_events(site: Site, response_id: str, after: int | None = None) -> list[Any]:
    more = {} if after is None else {"starting_after": after}
    stream = await site.client.responses.retrieve(response_id, stream=True, **more)  # type: ignore[call-overload]
    return [event async for event in stream]


@pytest.mark.parametrize("killed", ["worker", "web", "both"])
async def test_a_response_completes_and_its_stream_goes_on_where_it_was_cut(site: Site, killed: str) -> None:
    stream = await site.client.responses.create(model=MODEL, input="Go on.", background=True, stream=True)
    seen = await read_until(stream, 5)
    response_id = seen[0].response.id
    for process in {"worker": [site.worker], "web": [site.web], "both": site.processes}[killed]:
        await process.kill()
    await stream.close()
    await site.start()
    rest = await all_events(site, response_id, seen[-1].sequence_number)
    events = await all_events(site, response_id)
    assert events == [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    output = events[-1].response.output
    assert output == (await site.client.responses.retrieve(response_id)).output
    assert [item.status for item in output][-1] == "completed"
    assert output[-1].content[0].text == TEXT
    deltas: dict[int, str] = {}
    for event in events:
        if event.type == "response.output_text.delta":
            deltas[event.output_index] = deltas.get(event.output_index, "") + event.delta
    # Whatever a client has seen is what the response has, cut off or not.
    assert [item.content[0].text for item in output] == [deltas[index] for index in sorted(deltas)]
    if killed != "web" or site.web is site.worker:
        assert [item.status for item in output] == ["incomplete", "completed"]
        assert TEXT.startswith(output[0].content[0].text)


async def test_a_response_whose_worker_is_dead_is_cancelled(site: Site) -> None:
    stream = await site.client.responses.create(model=MODEL, input="Go on.", background=True, stream=True)
    seen = await read_until(stream, 5)
    response_id = seen[0].response.id
    await stream.close()
    await site.worker.kill()
    if site.web is site.worker:
        await site.start()
    response = await site.client.responses.cancel(response_id)
    assert response.status == "cancelled"
    await site.start()
    events = await all_events(site, response_id)
    assert events[: len(seen)] == seen
    assert (events[-1].type, events[-1].response.status) == ("response.incomplete", "cancelled")


async def test_a_response_that_nobody_watched_completes_after_a_kill(site: Site) -> None:
    response = await site.client.responses.create(model=MODEL, input="Go on.", background=True)
    for process in site.processes:
        await process.kill()
    await site.start()

    async def ended() -> bool:
        return await site.has_ended(response.id)

    await until(ended, 60, "the response ends")
    final = await site.client.responses.retrieve(response.id)
    assert (final.status, final.output_text) == ("completed", TEXT)


@pytest.mark.parametrize("killed", ["worker", "both"])
async def test_a_chat_completion_in_the_background_completes_after_a_kill(site: Site, killed: str) -> None:
    started = await site.client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Go on."}],
        extra_headers={"x-gateway-background": "true"},
    )
    address, seen = started.headers["location"], ""
    asked = await site.client.get(
        f"{site.web.url}{address}?stream=true",
        cast_to=ChatCompletionChunk,
        stream=True,
        stream_cls=openai.AsyncStream[ChatCompletionChunk],
    )
    async for chunk in asked:
        seen += chunk.choices[0].delta.content or ""
        if len(seen) > 20:
            break
    for process in {"worker": [site.worker], "both": site.processes}[killed]:
        await process.kill()
    await asked.close()
    await site.start()
    completion_id = address.rpartition("/")[2]

    async def ended() -> bool:
        try:
            found = await site.client.chat.completions.retrieve(completion_id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return False
        return bool(found.choices)

    await until(ended, 60, "the completion ends")
    final = await site.client.chat.completions.retrieve(completion_id)
    assert final.choices[0].message.content == TEXT
    # The attempt that a client saw stays as it was, and says at its end that another one follows.
    old = await raw_stream(site, address, "&after=-1")
    assert old[-1].startswith("{")
    assert "attempt_restarted" in old[-1]
    newest = await raw_stream(site, address, "")
    assert newest[-1] == "[DONE]"
    pieces = [json.loads(data)["choices"][0]["delta"].get("content") or "" for data in newest[:-1]]
    assert "".join(pieces) == TEXT


async def raw_stream(site: Site, address: str, more: str) -> list[str]:
    """Returns the data of the events of a stream."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        answer = await client.get(f"{site.web.url}{address}?stream=true{more}")
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
