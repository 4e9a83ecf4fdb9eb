"""Any answer, cut into deltas that come in any legal order and at any byte, is the same answer to the client's official
package: text, thoughts, refusals, parallel calls, citations, log probabilities and the reason to stop."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect
from inference_app.conversion.call_ids import split_call_id
from inference_app.conversion.sealed_reasoning import open_token
from tests.conversion.answers import BODIES, STREAMS, Answer, answers
from tests.conversion.building import converter

Json = dict[str, Any]
EXAMPLES = int(os.environ.get("GATEWAY_TEST_EXAMPLES", "30"))
"""2,000 for a thorough run."""

PAIRS: list[tuple[ClientDialect, Wire]] = [
    ("responses", "openai-chat"),
    ("messages", "openai-chat"),
    ("chat", "anthropic"),
    ("responses", "anthropic"),
    ("chat", "openai-responses"),
    ("messages", "openai-responses"),
]
ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


class Served:
    """The official clients, connected to the bytes of one answer."""

    def __init__(self) -> None:
        self.content: bytes | list[bytes] = b""
        one, two = (
            library.Client(transport=library.MockTransport(self._server(library))) for library in (httpx, httpx2)
        )
        self.openai = openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=one, max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=two, max_retries=0)

    def _server(self, library: Any) -> Callable[[Any], Any]:
        def answer(request: Any) -> Any:
            whole = isinstance(self.content, bytes)
            kind = "application/json" if whole else "text/event-stream"
            content = self.content if whole else iter(self.content)
            return library.Response(200, content=content, headers={"content-type": kind})

        return answer


SERVED = Served()


def assembled(client: ClientDialect, *, stream: bool) -> Any:
    """Returns the answer as the official client hands it over."""
    if client == "messages":
        if not stream:
            return SERVED.anthropic.messages.create(max_tokens=9, **ASKED)
        with SERVED.anthropic.messages.stream(max_tokens=9, **ASKED) as events:
            return events.get_final_message()
    if client == "responses":
        if not stream:
            return SERVED.openai.responses.create(model="m", input="x")
        with SERVED.openai.responses.stream(model="m", input="x") as responded:
            return list(responded)[-1].response  # type: ignore[union-attr]
    if not stream:
        return SERVED.openai.chat.completions.create(**ASKED)
    with SERVED.openai.chat.completions.stream(**ASKED) as chunks:
        for _ in chunks:
            pass
        return chunks.current_completion_snapshot


def essence(client: ClientDialect, answer: Any) -> Json:
    """Returns what an assembled answer says, in no dialect."""
    return {"messages": _of_message, "responses": _of_response, "chat": _of_completion}[client](answer.to_dict())


def _of_message(message: Json) -> Json:
    found = _nothing()
    for block in message["content"]:
        if block["type"] == "text":
            found["text"] += block["text"]
            found["pages"] += [(page["url"], page["title"]) for page in block.get("citations") or ()]
        elif block["type"] == "thinking":
            found["thought"] += block["thinking"]
            found["seals"] += _seal(block["signature"])
        elif block["type"] == "redacted_thinking":
            found["seals"] += _seal(block["data"])
        else:
            found["calls"].append((*split_call_id(block["id"]), block["name"], block["input"]))
    found["cut_off"] = message["stop_reason"] == "max_tokens"
    assert (message["stop_reason"] == "tool_use") is bool(found["calls"])
    return found


def _of_response(response: Json) -> Json:
    found = _nothing()
    for item in response["output"]:
        if item["type"] == "message":
            for part in item["content"]:
                found["text"] += part.get("text", "")
                found["refusal"] += part.get("refusal", "")
                found["pages"] += [(page["url"], page["title"]) for page in part.get("annotations") or ()]
                found["noted"] += "".join(noted["token"] for noted in part.get("logprobs") or ())
        elif item["type"] == "reasoning":
            found["thought"] += "".join(part["text"] for part in item["summary"])
            found["seals"] += _seal(item.get("encrypted_content"))
        else:
            arguments = json.loads(item["arguments"])
            found["calls"].append((*split_call_id(item["call_id"]), item["name"], arguments))
    found["cut_off"] = response["status"] == "incomplete"
    return found


def _of_completion(completion: Json) -> Json:
    found = _nothing()
    choice = completion["choices"][0]
    message = choice["message"]
    found |= {"text": message.get("content") or "", "refusal": message.get("refusal") or ""}
    found["thought"] = message.get("reasoning_content") or ""
    found["seals"] = [
        detail.get("signature") or detail.get("data")
        for detail in message.get("reasoning_details") or ()
        if detail["type"] != "reasoning.summary"
    ]
    pages = [annotation["url_citation"] for annotation in message.get("annotations") or ()]
    found["pages"] = [(page["url"], page["title"]) for page in pages]
    noted = (choice.get("logprobs") or {}).get("content") or ()
    found["noted"] = "".join(token["token"] for token in noted)
    for call in message.get("tool_calls") or ():
        function = call["function"]
        found["calls"].append((*split_call_id(call["id"]), function["name"], json.loads(function["arguments"])))
    found["cut_off"] = choice["finish_reason"] == "length"
    assert (choice["finish_reason"] == "tool_calls") is bool(found["calls"])
    return found


def _nothing() -> Json:
    return {
        "text": "",
        "refusal": "",
        "thought": "",
        "seals": [],
        "pages": [],
        "noted": "",
        "calls": [],
        "cut_off": False,
    }


def _seal(token: str | None) -> list[Any]:
    seal = open_token(token)
    return [] if seal is None else [seal.get("signature") or seal.get("data") or seal.get("encrypted_content")]


def expected(client: ClientDialect, answer: Answer) -> Json:
    """Returns what the client's dialect can say of an answer."""
    separate = client != "messages"
    calls = [(call.id, call.signature, call.name, json.loads(call.arguments)) for call in answer.calls]
    return {
        "text": answer.text if separate else answer.text + answer.refusal,
        "refusal": answer.refusal if separate else "",
        "thought": answer.thought,
        "seals": [answer.signature] if answer.signature and answer.thought else [],
        "pages": sorted(answer.pages),
        "noted": answer.text if separate and answer.noted else "",
        "calls": calls,
        "cut_off": answer.cut_off,
    }


def sorted_pages(found: Json) -> Json:
    return {**found, "pages": sorted(found["pages"])}


def pieces_of(draw: st.DrawFn, stream: bytes) -> Iterator[bytes]:
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]
    yield from (stream[a:b] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_stream_in_any_order_is_the_answer(client: ClientDialect, wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    draw: Any = data.draw
    made = converter(client, wire)
    sent = [made.feed(piece) for piece in pieces_of(draw, STREAMS[wire](draw, answer))]
    SERVED.content = [*sent, made.finish()]
    assert sorted_pages(essence(client, assembled(client, stream=True))) == expected(client, answer)


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_whole_answer_is_the_answer(client: ClientDialect, wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    SERVED.content = converter(client, wire).answer(json.dumps(BODIES[wire](answer)).encode())
    assert sorted_pages(essence(client, assembled(client, stream=False))) == expected(client, answer)
