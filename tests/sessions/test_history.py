"""Imported history and forks (docs/protocol-native.md)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.engine import Completion, Finished, Leg, LegOutcome
from core_app.ids import new_id
from sessions_app.models import Message
from sessions_app.services.fork import session_fork
from sessions_app.services.history import MAX_IMPORTED, PAGE, ImportedMessage
from sessions_app.services.messages import message_add
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import USAGE, ScriptedEngine, prompt_of, say

pytestmark = pytest.mark.django_db(transaction=True)

EARLIER: list[dict[str, Any]] = [
    {"role": "user", "content": "how warm is it"},
    {
        "role": "assistant",
        "content": "",
        "toolCalls": [{"callId": "c1", "name": "weather", "arguments": {"at": "here"}}],
    },
    {"role": "tool_result", "content": "21 degrees", "callId": "c1"},
    {"role": "assistant", "content": "21 degrees."},
]


async def messages(api: Client, session: str) -> list[dict[str, Any]]:
    return list((await api.get(f"/v1/sessions/{session}/messages")).json["messages"])


async def test_imported_history_is_what_the_engine_is_given(api: Client, script: ScriptedEngine) -> None:
    given: list[tuple[str, str]] = []

    async def leg_of(leg: Leg) -> LegOutcome:
        given.extend((message.role, message.content) for message in leg.history)
        text, _ = await say(leg, [prompt_of(leg)])
        return Finished(text)

    script.behaviour = leg_of
    session = await api.session(messages=EARLIER)
    await api.run(session, "and tomorrow")
    assert given == [*((entry["role"], entry["content"]) for entry in EARLIER), ("user", "and tomorrow")]


async def test_imported_history_is_shown_with_its_calls(api: Client) -> None:
    session = await api.session(messages=EARLIER)
    shown = await messages(api, session)
    assert [entry["role"] for entry in shown] == [entry["role"] for entry in EARLIER]
    assert shown[1]["toolCalls"] == EARLIER[1]["toolCalls"]
    assert shown[2]["callId"] == "c1"


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ([EARLIER[2]], "messages.0"),
        (EARLIER[:2], "messages"),
        ([EARLIER[1], EARLIER[0]], "messages.1"),
        ([*EARLIER, *EARLIER[1:3]], "messages.4"),
        ([{"role": "user", "content": "x", "callId": "c"}], "messages.0"),
        ([{"role": "system", "content": "x"}], "messages.0.role"),
        ([{"role": "user", "content": "x"}] * 501, "messages"),
    ],
)
async def test_history_whose_calls_and_results_do_not_fit_is_refused_by_its_place(
    api: Client, broken: list[Any], field: str
) -> None:
    answer = await api.post("/v1/sessions", {"model": "demo:echo", "messages": broken})
    assert answer.error == (400, "bad_request")
    assert answer.field == field


async def test_a_fork_knows_what_was_said_up_to_its_message_and_nothing_later(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    await api.run(session, "second")
    whole = await messages(api, session)
    answer = await api.post(f"/v1/sessions/{session}/fork", {"messageId": whole[1]["id"], "sessionId": "forked"})
    assert answer.status == 201
    assert answer.json["sessionId"] == "forked"
    assert [(entry["role"], entry["content"]) for entry in await messages(api, "forked")] == [
        ("user", "first"),
        ("assistant", "first"),
    ]
    run = await api.run("forked", "elsewhere")
    assert run["lastMessage"]["content"] == "elsewhere"
    assert await messages(api, session) == whole


async def test_a_fork_has_the_settings_and_the_tools_of_its_origin(api: Client) -> None:
    tool = {"name": "lookup", "description": "looks up", "parameters": {"type": "object"}}
    session = await api.session(tools=[tool], userData={"a": 1}, messages=EARLIER, groupId="together")
    last = (await messages(api, session))[-1]["id"]
    fork = (await api.post(f"/v1/sessions/{session}/fork", {"messageId": last})).json
    assert (fork["userData"], fork["groupId"], fork["model"]) == ({"a": 1}, "together", "demo:echo")
    tools = (await api.get(f"/v1/sessions/{fork['sessionId']}/tools")).json["tools"]
    assert [entry["name"] for entry in tools] == ["lookup"]


async def test_a_fork_in_the_middle_of_a_turn_is_a_conflict(api: Client) -> None:
    session = await api.session(messages=EARLIER)
    for place in (1, 2):
        middle = (await messages(api, session))[place]["id"]
        answer = await api.post(f"/v1/sessions/{session}/fork", {"messageId": middle})
        assert answer.error == (409, "conflict")


async def test_a_fork_of_an_unknown_message_or_into_a_taken_id_leaves_nothing(api: Client) -> None:
    session = await api.session(messages=EARLIER)
    last = (await messages(api, session))[-1]["id"]
    before = len((await api.get("/v1/sessions")).json["sessions"])
    unknown = await api.post(f"/v1/sessions/{session}/fork", {"messageId": "msg_0"})
    taken = await api.post(f"/v1/sessions/{session}/fork", {"messageId": last, "sessionId": session})
    assert (unknown.status, taken.status) == (404, 409)
    assert len((await api.get("/v1/sessions")).json["sessions"]) == before


async def test_a_stranger_cannot_fork(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    session = await api.session(messages=EARLIER)
    last = (await messages(api, session))[-1]["id"]
    answer = await gateway.client(stranger).post(f"/v1/sessions/{session}/fork", {"messageId": last})
    assert answer.error == (404, "session_not_found")


@pytest.mark.parametrize("length", [3, PAGE + 3])
def test_history_is_imported_and_forked_in_as_many_statements_however_long_it_is(owner: Caller, length: int) -> None:
    """On SQLite, every other writer waits for such a transaction."""
    told = [ImportedMessage("user", f"{number}") for number in range(min(length, MAX_IMPORTED))]
    request = SessionRequest(model="demo:echo", messages=told)
    with CaptureQueriesContext(connection) as importing:
        origin = session_create(principal=owner.principal, request=request)
    origin.refresh_from_db()
    while origin.message_count < length:
        message_add(session_id=origin.pk, run_id=None, role="user", content="more")
        origin.refresh_from_db()
    last = Message.objects.filter(session=origin).latest("number")
    with CaptureQueriesContext(connection) as forking:
        fork = session_fork(principal=owner.principal, public_id=origin.public_id, message_id=last.pk)
    assert (len(importing), len(forking)) < (40, 60)
    copies = Message.objects.filter(session=fork).order_by("number")
    assert [row.number for row in copies] == list(range(1, length + 1))
    assert [row.content for row in copies] == [
        row.content for row in Message.objects.filter(session=origin).order_by("number")
    ]
    assert fork.message_count == length


async def test_a_leg_is_given_what_a_cut_has_left_and_may_ask_for_the_whole(
    api: Client, script: ScriptedEngine
) -> None:
    given: list[tuple[str | None, list[str], int]] = []

    async def answer_with_cut(leg: Leg) -> LegOutcome:
        whole = await leg.full_history()
        given.append((leg.kept_for, [message.content for message in leg.history], len(whole)))
        answer = next(message for message in whole if message.role == "assistant" and message.content == "b")
        await leg.checkpoint(Completion(new_id("msg"), "fine", (), USAGE, b"{}", kept_from=answer.message_id))
        return Finished("fine")

    script.behaviour = answer_with_cut
    said = [("user", "1"), ("assistant", "a"), ("user", "2"), ("assistant", "b"), ("user", "3"), ("assistant", "c")]
    session = await api.session(messages=[{"role": role, "content": content} for role, content in said])
    await api.run(session, "4")
    await api.run(session, "5")
    assert given == [
        (None, ["1", "a", "2", "b", "3", "c", "4"], 7),
        # The kept part, and the prompt that its first message answers.
        (USAGE.model, ["2", "b", "3", "c", "4", "fine", "5"], 9),
    ]
