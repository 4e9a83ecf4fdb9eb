"""The official clients run chat completions and messages in the background, over a provider that speaks only chat."""

from __future__ import annotations

import time
from typing import Any

import anthropic
import openai
import pytest

from tests.agents.conftest import Upstream
from tests.api.served import Served

SECONDS = 60
BACKGROUND = {"x-gateway-background": "true"}
EVENT: Any = anthropic.types.RawMessageStreamEvent
SAID: Any = [{"role": "user", "content": "Hi"}]


def chat_of(client: openai.OpenAI, completion_id: str) -> Any:
    """Polls a chat completion where the client looks for it, until it has choices."""
    deadline = time.monotonic() + SECONDS
    while not (found := client.chat.completions.retrieve(completion_id)).choices:
        assert time.monotonic() < deadline, found
    return found


def chunks_after(client: openai.OpenAI, completion_id: str, number: int) -> Any:
    """Returns the rest of a stream, as the client reads it."""
    return client.get(
        f"/background/{completion_id}",
        cast_to=openai.types.chat.ChatCompletionChunk,
        stream=True,
        stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
        options={"params": {"stream": "true", "after": number}},
    )


def test_openais_client_starts_polls_streams_and_deletes_a_chat_completion(
    openai_client: openai.OpenAI, plain: Upstream
) -> None:
    queued = openai_client.chat.completions.create(model="plain:hello", messages=SAID, extra_headers=BACKGROUND)
    assert (queued.id[:3], queued.model_extra) == ("bg_", {"status": "queued"})
    final = chat_of(openai_client, queued.id)
    assert (final.id, final.choices[0].message.content) == (queued.id, "Hello, world.")
    assert (final.choices[0].finish_reason, final.usage.total_tokens) == ("stop", 18)
    chunks = list(chunks_after(openai_client, queued.id, -1))
    assert {chunk.id for chunk in chunks} == {queued.id}
    for number in range(len(chunks) + 1):
        assert list(chunks_after(openai_client, queued.id, number)) == chunks[number:]
    assert openai_client.chat.completions.delete(queued.id).deleted
    with pytest.raises(openai.NotFoundError):
        openai_client.chat.completions.retrieve(queued.id)


def test_openais_client_reads_the_stream_of_a_chat_completion_in_the_background(
    openai_client: openai.OpenAI, plain: Upstream
) -> None:
    queued = openai_client.chat.completions.create(model="plain:hello", messages=SAID, extra_headers=BACKGROUND)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks_after(openai_client, queued.id, 0))
    assert text == chat_of(openai_client, queued.id).choices[0].message.content == "Hello, world."


def test_openais_client_reads_a_cancelled_chat_completion_as_an_error(
    openai_client: openai.OpenAI, plain: Upstream
) -> None:
    queued = openai_client.chat.completions.create(model="plain:slow:1000:50", messages=SAID, extra_headers=BACKGROUND)
    openai_client.post(f"/background/{queued.id}/cancel", cast_to=object)
    # It is final: the client does not try again.
    with pytest.raises(openai.ConflictError) as cancelled:
        openai_client.with_options(max_retries=5).chat.completions.retrieve(queued.id)
    assert cancelled.value.code == "cancelled"
    with pytest.raises(openai.APIError):
        list(chunks_after(openai_client, queued.id, -1))


def test_anthropics_client_starts_polls_and_streams_a_message(
    anthropic_client: anthropic.Anthropic, plain: Upstream
) -> None:
    queued = anthropic_client.messages.create(
        model="plain:reasoning", max_tokens=50, messages=SAID, extra_headers=BACKGROUND
    )
    assert (queued.id[:3], queued.model_extra) == ("bg_", {"status": "queued"})
    deadline = time.monotonic() + SECONDS
    while True:
        final = anthropic_client.get(f"/v1/background/{queued.id}", cast_to=anthropic.types.Message)
        if final.content:
            break
        assert time.monotonic() < deadline
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 7)
    again: Any = anthropic_client.get(
        f"/v1/background/{queued.id}",
        cast_to=EVENT,
        stream=True,
        stream_cls=anthropic.Stream[anthropic.types.RawMessageStreamEvent],
        options={"params": {"stream": "true"}},
    )
    events = list(again)
    assert (events[0].message.id, events[-1].type) == (queued.id, "message_stop")
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    said = "".join(delta.text for delta in deltas if delta.type == "text_delta")
    assert said == getattr(final.content[1], "text", None) == "Then I answer."


def test_another_tenants_completion_is_not_found(
    gateway: Served, openai_client: openai.OpenAI, plain: Upstream
) -> None:
    queued = openai_client.chat.completions.create(model="plain:hello", messages=SAID, extra_headers=BACKGROUND)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["stranger"], max_retries=0) as rival:
        for ask in (rival.chat.completions.retrieve, rival.chat.completions.delete):
            with pytest.raises(openai.NotFoundError):
                ask(queued.id)
    chat_of(openai_client, queued.id)
