"""OpenAI's own client stores, continues, resumes and cancels responses over a provider that speaks only chat."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from tests.agents.conftest import Upstream
from tests.api.served import Served

SECONDS = 60


def until_ended(client: openai.OpenAI, response_id: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while (response := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, response
    return response


def texts_of(items: Any) -> list[str]:
    return [part.text for item in items for part in item.content]


def test_a_response_is_retrieved_continued_listed_and_deleted(openai_client: openai.OpenAI, plain: Upstream) -> None:
    first = openai_client.responses.create(model="plain:hello", input="Hi", metadata={"topic": "greeting"})
    assert openai_client.responses.retrieve(first.id) == first
    second = openai_client.responses.create(model="plain:hello", input="Again", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert [m["role"] for m in plain.requests()[-1]["messages"]] == ["user", "assistant", "user"]
    assert texts_of(openai_client.responses.input_items.list(second.id)) == ["Again"]
    openai_client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as refusal:
        openai_client.responses.create(model="plain:hello", input="On", previous_response_id=second.id)
    assert refusal.value.code == "previous_response_not_found"


def test_input_items_are_paged_by_the_client(openai_client: openai.OpenAI, plain: Upstream) -> None:
    items: Any = [{"role": "user", "content": str(number)} for number in range(45)]
    response = openai_client.responses.create(model="plain:hello", input=items)
    listed = openai_client.responses.input_items.list(response.id, limit=10, order="asc")
    assert texts_of(listed) == [str(number) for number in range(45)]


def test_a_background_response_is_polled(openai_client: openai.OpenAI, plain: Upstream) -> None:
    queued = openai_client.responses.create(model="plain:reasoning", input="Hi", background=True)
    assert (queued.status, queued.background) == ("queued", True)
    response = until_ended(openai_client, queued.id)
    assert (response.status, response.output_text) == ("completed", "Then I answer.")
    assert response.usage.total_tokens == 18


def test_a_background_stream_that_is_cut_at_every_event_goes_on(openai_client: openai.OpenAI, plain: Upstream) -> None:
    def ask(**more: Any) -> Any:
        return openai_client.responses.create(model="plain:reasoning", input="Hi", background=True, stream=True, **more)

    with ask() as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response_id = events[0].response.id
    for number in range(len(events)):
        with openai_client.responses.retrieve(response_id, stream=True, starting_after=number) as stream:
            assert list(stream) == events[number + 1 :]
    with ask() as stream:
        seen = [next(iter(stream))]
    while seen[-1].type != "response.completed":
        with openai_client.responses.retrieve(
            seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number
        ) as stream:
            seen.append(next(iter(stream)))
    assert [event.type for event in seen if "delta" not in event.type] == [
        event.type for event in events if "delta" not in event.type
    ]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].response.output_text == "Then I answer."


def test_the_clients_own_accumulation_of_a_resumed_stream_is_the_response(
    openai_client: openai.OpenAI, plain: Upstream
) -> None:
    with openai_client.responses.stream(model="plain:hello", input="Hi", background=True) as stream:
        final = stream.get_final_response()
    with openai_client.responses.stream(response_id=final.id, starting_after=3) as stream:
        again = stream.get_final_response()
    assert again.output_text == final.output_text == "Hello, world."
    assert openai_client.responses.retrieve(final.id).output_text == final.output_text


def test_a_background_response_is_cancelled(openai_client: openai.OpenAI, plain: Upstream) -> None:
    with openai_client.responses.create(model="plain:slow:1000:50", input="Hi", background=True, stream=True) as stream:
        events: Any = iter(stream)
        response_id = next(events).response.id
        while next(events).type != "response.output_text.delta":
            pass
    cancelled = openai_client.responses.cancel(response_id)
    assert cancelled.status == "cancelled"
    assert openai_client.responses.retrieve(response_id) == cancelled
    with openai_client.responses.retrieve(response_id, stream=True) as stream:
        last: Any = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    assert last.response.output[0].status == "incomplete"


def test_a_foreground_response_whose_client_left_reads_cancelled(openai_client: openai.OpenAI, plain: Upstream) -> None:
    with openai_client.responses.create(model="plain:slow:1000:50", input="Hi", stream=True) as stream:
        events: Any = iter(stream)
        response_id = next(events).response.id
        while next(events).type != "response.output_text.delta":
            pass
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            response = openai_client.responses.retrieve(response_id)
            break
        except openai.NotFoundError:
            assert time.monotonic() < deadline
    assert response.status == "cancelled"


def test_another_tenants_response_is_not_found(gateway: Served, openai_client: openai.OpenAI, plain: Upstream) -> None:
    response = openai_client.responses.create(model="plain:hello", input="Hi")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["stranger"], max_retries=0) as rival:
        for ask in (rival.responses.retrieve, rival.responses.delete, rival.responses.cancel):
            with pytest.raises(openai.NotFoundError) as refusal:
                ask(response.id)
            assert refusal.value.code == "response_not_found"
    assert openai_client.responses.retrieve(response.id) == response


def test_a_response_is_continued_at_a_provider_of_another_wire(
    openai_client: openai.OpenAI, plain: Upstream, everything: Upstream
) -> None:
    first = openai_client.responses.create(model="plain:hello", input="Hi")
    second = openai_client.responses.create(model="claude:hello", input="And you?", previous_response_id=first.id)
    third = openai_client.responses.create(model="gpt:hello", input="Well?", previous_response_id=second.id)
    assert [len(request.get("messages") or request["input"]) for request in everything.requests()] == [3, 5]
    assert third.output_text == "Hello, world."


def test_conversations_are_kept_read_and_added_to(openai_client: openai.OpenAI, plain: Upstream) -> None:
    conversation = openai_client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "My name is Ann."}], metadata={"topic": "names"}
    )
    assert openai_client.conversations.retrieve(conversation.id) == conversation
    first = openai_client.responses.create(model="plain:hello", input="Hi", conversation=conversation.id)
    with openai_client.responses.stream(
        model="plain:hello", input="Again", conversation={"id": conversation.id}, background=True
    ) as stream:
        second = stream.get_final_response()
    assert first.conversation is not None
    assert first.conversation == second.conversation
    assert first.conversation.id == conversation.id
    assert [len(request["messages"]) for request in plain.requests()] == [2, 4]
    listed = list(openai_client.conversations.items.list(conversation.id, order="asc", limit=2))
    assert texts_of(listed) == ["My name is Ann.", "Hi", "Hello, world.", "Again", "Hello, world."]
    added = openai_client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user", "content": "Bye."}]
    )
    item: Any = openai_client.conversations.items.retrieve(str(added.data[0].id), conversation_id=conversation.id)
    assert texts_of([item]) == ["Bye."]
    assert openai_client.conversations.items.delete(item.id, conversation_id=conversation.id).id == conversation.id
    changed = openai_client.conversations.update(conversation.id, metadata={"topic": "done"})
    assert changed.metadata == {"topic": "done"}
    assert openai_client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        openai_client.conversations.retrieve(conversation.id)


def test_a_conversation_is_compacted_and_goes_on(openai_client: openai.OpenAI, plain: Upstream) -> None:
    first = openai_client.responses.create(model="plain:hello", input="My name is Ann.")
    compact = openai_client.responses.compact(model="plain:hello", previous_response_id=first.id)
    assert [item.type for item in compact.output] == ["message", "compaction"]
    assert compact.usage.total_tokens == 18
    items: Any = [*(item.to_dict(warnings=False) for item in compact.output), {"role": "user", "content": "Who am I?"}]
    openai_client.responses.create(model="plain:hello", input=items)
    said = plain.requests()[-1]["messages"]
    assert [message["role"] for message in said] == ["user", "system", "user"]
    assert "Hello, world." in str(said[1]["content"])
