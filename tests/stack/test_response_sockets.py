"""The WebSocket of the Responses API and message threads, when the process that serves them is killed."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
import pytest
from websockets.exceptions import ConnectionClosed

from tests.stack.deployment import KEY
from tests.stack.test_responses import MODEL, TEXT, Site, all_events, plain, read_until, site

__all__ = ["plain", "site"]


async def test_a_background_response_of_a_socket_goes_on_when_its_web_process_is_killed(site: Site) -> None:
    async with site.client.responses.connect() as socket:
        await socket.response.create(model=MODEL, input="Go on.", background=True, stream_id="s")
        seen = await read_until(socket, 5)
        await site.web.kill()
        with pytest.raises(ConnectionClosed):
            await read_until(socket, 10_000)
    response_id = seen[0].response.id
    await site.start()
    rest = await all_events(site, response_id, seen[-1].sequence_number)
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output[-1].content[0].text == TEXT


async def test_a_foreground_response_ends_with_its_process_and_what_was_stored_is_continued(site: Site) -> None:
    async with site.client.responses.connect() as socket:
        await socket.response.create(model="plain:hello", input="Hi")
        first = await last_of(socket)
        await socket.response.create(model=MODEL, input="Go on.", previous_response_id=first.id)
        seen = await read_until(socket, 3)
        await site.web.kill()
        with pytest.raises(ConnectionClosed):
            await read_until(socket, 10_000)
    await site.start()
    with pytest.raises(openai.NotFoundError):
        await site.client.responses.retrieve(seen[0].response.id)
    async with site.client.responses.connect() as socket:
        await socket.response.create(model="plain:hello", input="Again", previous_response_id=first.id)
        assert (await last_of(socket)).status == "completed"


async def test_a_thread_goes_on_when_the_process_of_a_turn_is_killed(site: Site) -> None:
    async with anthropic.AsyncAnthropic(base_url=site.web.url, api_key=KEY, max_retries=0) as client:
        thread = client.beta.messages.thread(model="plain:hello", max_tokens=500)
        first = await thread.send({"role": "user", "content": "One"})
        with pytest.raises((anthropic.APIConnectionError, httpx2.HTTPError)):
            await stream_until_killed(thread, site)
        await site.start()
        # The claim of the dead process still counts, and the client replays its conversation by itself.
        raw: Any = {"type": "continue", "previous_message_id": first.id}
        with pytest.raises(anthropic.BadRequestError) as refusal:
            await client.beta.messages.create(
                model="plain:hello", max_tokens=50, messages=[{"role": "user", "content": "x"}], thread=raw
            )
        assert refusal.value.body["error"]["details"]["error_code"] == "thread_continue_in_flight"  # type: ignore[index]
        again = await thread.send({"role": "user", "content": "Three"})
        assert again.id != first.id
        assert thread.previous_message_id == again.id


async def stream_until_killed(thread: Any, site: Site) -> None:
    async with thread.stream({"role": "user", "content": "Two"}, model=MODEL) as events:
        async for event in events:
            if event.type == "text":
                await site.web.kill()


async def last_of(socket: Any) -> Any:
    async for event in socket:
        if event.type in ("response.completed", "response.failed"):
            return event.response
    raise AssertionError("the socket ended")
