"""No stored message makes a session unusable: whatever was said or called, the next prompt is answered.

The provider refuses what real ones refuse (`tests.agents.checking_provider`).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from inference_app.catalogue.config import MODELS
from tests.agents.conftest import Upstream
from tests.agents.histories import CONFIG
from tests.gateway_harness import Client

pytestmark = pytest.mark.django_db(transaction=True)

ECHO = {"name": "echo", "description": "echoes", "parameters": {"type": "object"}}
STRICT = ("openai:checked:openai:0", "anthropic:checked:anthropic:0", "responses:checked:responses:0")
BLIND = "mistral:checked:mistral:0:blind"
"""A model that takes no images, of which the gateway does not know it."""

IMAGE = {"type": "image", "mediaType": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}


@pytest.fixture(autouse=True)
def _checking(_over_the_upstream: None, upstream: Upstream, settings: Any) -> None:
    text = CONFIG.format(url=upstream.url, root=upstream.url.removesuffix("/v1"))
    Path(settings.GATEWAY_CONFIG).write_text(text)
    MODELS.forget()


async def answered(api: Client, session: str, text: str = "And now?", **fields: Any) -> None:
    """Sends a prompt, which must be answered."""
    run = await api.run(session, text, **fields)
    assert run["status"] == "completed", run["error"]


CALLED = (
    'echo {"q": NaN}', 'echo {"q": -Infinity}', "echo [1]", 'echo {"q": ', 'echo {"n": 1e400}', 'echo {"a": "\\ud800"}',
    "functions.cb {}", "<none> {}", "a/b {}", f"{'t' * 300} {{}}", "1st {}", "\x1b[0m {}", "échо {}",
)  # fmt: skip
"""Calls that some provider refuses to read again."""

BLANK = (" ", "\n\t", "\u3000", "\x01")


def newest_message(upstream: Upstream) -> str:
    """Returns the newest message that the provider was sent."""
    return str(upstream.requests()[-1]["messages"][-1]["content"])


@pytest.mark.parametrize("model", STRICT)
async def test_a_call_that_a_provider_would_refuse_ends_no_session(api: Client, model: str) -> None:
    for called in CALLED:
        session = await api.session(model=model, tools=[ECHO])
        await answered(api, session, f"call {called}")
        await answered(api, session)


@pytest.mark.parametrize("model", STRICT)
async def test_a_blank_prompt_is_answered_and_ends_no_session(api: Client, model: str) -> None:
    session = await api.session(model=model, systemPrompt=" ")
    for text in BLANK:
        await answered(api, session, text)
        await answered(api, session)


async def test_an_image_stays_behind_when_the_next_model_takes_none(api: Client, upstream: Upstream) -> None:
    session = await api.session(model=STRICT[0])
    await answered(api, session, "Look", attachments=[IMAGE])
    switched = await api.post(f"/v1/sessions/{session}/switch_model", {"model": "openai:checked:openai:0:text"})
    assert switched.status == 202
    await answered(api, session)
    sent = upstream.requests()[-1]["messages"]
    assert "takes no attachments of the type image" in json.dumps(sent[0])
    back = await api.post(f"/v1/sessions/{session}/switch_model", {"model": STRICT[0]})
    assert back.status == 202
    await answered(api, session)
    assert "image_url" in json.dumps(upstream.requests()[-1]["messages"][0])


async def test_an_image_that_a_provider_refuses_fails_its_prompt_and_no_other(api: Client) -> None:
    session = await api.session(model=BLIND)
    run = await api.run(session, "Look", attachments=[IMAGE])
    assert (run["status"], run["error"]["code"]) == ("failed", "bad_request")
    await answered(api, session)
    await answered(api, session)


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    wanted = {"callId": call_id, "name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "toolCalls": [wanted]}


def result(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool_result", "callId": call_id, "content": content}


IMPORTS: tuple[list[dict[str, Any]], ...] = (
    [{"role": "assistant", "content": "I begin."}],
    [{"role": "assistant", "content": ""}],
    [{"role": "user", "content": " "}, {"role": "assistant", "content": " "}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": ""}, {"role": "user", "content": "b"}],
    [call("c" * 150, "echo", x=1), result("c" * 150, "")],
    [call("1 ß", "mcp.files/read", x=1), result("1 ß", "ok")],
    [call("c", "tool" * 40, x=1), result("c", "ok")],
    [call("c__sig0__AAAA", "echo"), result("c__sig0__AAAA", " ")],
)
"""Histories that no provider takes as they are."""


@pytest.mark.parametrize("model", STRICT)
@pytest.mark.parametrize("tools", [[ECHO], []], ids=["tools", "no-tools"])
async def test_imported_messages_end_no_session(api: Client, model: str, tools: list[dict[str, Any]]) -> None:
    for messages in IMPORTS:
        session = await api.session(model=model, tools=tools, messages=messages)
        await answered(api, session)
        last = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"][-1]["id"]
        forked = await api.post(f"/v1/sessions/{session}/fork", {"messageId": last})
        assert forked.status == 201
        await answered(api, forked.json["sessionId"])


WINDOW = "openai:checked:openai:3000"
UNKNOWN_WINDOW = "openai:checked:openai:2000:"


@pytest.mark.parametrize("policy", ["truncate", "summarize"])
@pytest.mark.parametrize("model", [WINDOW, UNKNOWN_WINDOW])
async def test_a_result_larger_than_the_context_is_cut_and_can_be_read(
    api: Client, server: Any, upstream: Upstream, model: str, policy: str
) -> None:
    whole = "".join(f"line {number:05}\n" for number in range(3640))
    server.replies = [(200, json.dumps({"result": whole}).encode())]
    tool = {**ECHO, "callbackUrl": server.url}
    session = await api.session(
        model=model, tools=[tool], historyPolicy=policy, approvals={"*": "always", "echo": "never"}
    )
    await answered(api, session, "call echo {}")
    shown = newest_message(upstream)
    assert shown.startswith("line 00000\nline 00001\n")
    assert shown.endswith("line 03638\nline 03639\n")
    assert f"of the {len(whole)} characters of this result are left out here" in shown
    cut = [frame.data for frame in await api.log(session) if frame.event == "context_truncated"]
    assert cut
    assert all(event["results"] == 1 and event["tokens"] > 0 for event in cut)
    messages = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    (stored,) = [message for message in messages if message["role"] == "tool_result"]
    assert stored["content"] == whole
    page = {"call_id": stored["callId"], "offset": 22_000, "length": 33}
    await answered(api, session, f"call read_result {json.dumps(page)}")
    read = f"{whole[22_000:22_033]}\n[Characters 22000 to 22033 of {len(whole)}. Go on with offset 22033.]"
    assert newest_message(upstream) == read


async def test_read_result_reads_no_other_session(api: Client, upstream: Upstream) -> None:
    given = [call("mine", "echo"), result("mine", "SECRET")]
    await api.session(model=STRICT[0], messages=given)
    session = await api.session(model=STRICT[0])
    await answered(api, session, 'call read_result {"call_id": "mine"}')
    assert newest_message(upstream) == "This session has no result of a call with that call_id."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"call_id": "mine"}', "abc\n[Characters 0 to 3 of 3. This is the end.]"),
        ('{"call_id": "mine", "offset": 3}', "The result has 3 characters: offset must be less."),
        ('{"call_id": "mine", "length": 2}', "ab\n[Characters 0 to 2 of 3. Go on with offset 2.]"),
    ],
)
async def test_read_result_gives_pages(api: Client, upstream: Upstream, arguments: str, expected: str) -> None:
    given = [call("mine", "echo"), result("mine", "abc")]
    session = await api.session(model=STRICT[0], messages=given)
    await answered(api, session, f"call read_result {arguments}")
    assert newest_message(upstream) == expected


async def test_read_result_is_no_name_for_a_tool_of_the_client(api: Client) -> None:
    session = await api.session(model=STRICT[0])
    refused = await api.post(f"/v1/sessions/{session}/tools", {**ECHO, "name": "read_result"})
    assert (refused.status, refused.field) == (400, "name")
