"""Lists over the sessions of a tenant: filters and search, the inbox, the activity, and what responses cost."""

from __future__ import annotations

from typing import Any

import pytest

from core_app import database
from sessions_app.inbox import inbox_total
from sessions_app.models import AgentSession
from tenants_app.models import Tenant
from tenants_app.principal import APPROVALS, SESSIONS_READ
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


async def ids(api: Client, query: str) -> list[str]:
    """The sessions of a list, the newest first."""
    answer = await api.get(f"/v1/sessions?{query}")
    assert answer.status == 200, answer.body
    return [session["sessionId"] for session in answer.json["sessions"]]


async def waiting(api: Client, text: str = "approve this", **fields: Any) -> str:
    """Creates a session whose run waits."""
    session = await api.session(model="demo:tour", **fields)
    request = await api.prompt(session, text)
    async with api.events(session, requestId=request) as reader:
        await reader.next_of("approval_required", "ask_user")
    return session


async def waits(api: Client, query: str = "") -> list[Any]:
    """The inbox."""
    found: list[Any] = (await api.get(f"/v1/inbox{query}")).json["waits"]
    return found


async def test_sessions_are_found_by_model_end_user_time_and_words(api: Client) -> None:
    await api.session(sessionId="alpha", title="The Quarterly report")
    await api.session(sessionId="beta", model="demo:tour", title="100% done")
    request = (await api.run("alpha", "hello", endUser="eve"))["requestId"]
    created = (await api.get("/v1/sessions/beta")).json["createdAt"]
    assert await ids(api, "model=demo:tour") == ["beta"]
    assert await ids(api, "endUser=eve") == ["alpha"]
    assert await ids(api, "endUser=ev") == []
    assert await ids(api, f"until={created}") == ["alpha"]
    assert await ids(api, f"since={created}") == ["beta"]
    assert await ids(api, "search=quarterly") == ["alpha"]
    assert await ids(api, "search=BET") == ["beta"]
    assert await ids(api, f"search={request}") == ["alpha"]
    assert await ids(api, "search=%25") == ["beta"]
    assert await ids(api, "search=_") == []
    assert await ids(api, "search=report&model=demo:tour") == []


async def test_a_search_looks_for_parts_among_the_newest_sessions_only(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.session_filter.SEARCHED", 2)
    for number in range(4):
        await api.session(sessionId=f"wanted-{number}")
    assert await ids(api, "search=wanted") == ["wanted-3", "wanted-2"]
    assert await ids(api, "search=wanted-0") == ["wanted-0"]


@pytest.mark.parametrize("name", ["agent", "model", "endUser", "search", "state", "since", "until"])
async def test_a_wrong_filter_is_named(api: Client, name: str) -> None:
    answer = await api.get(f"/v1/sessions?{name}={'x' * 201}")
    assert (answer.error, answer.field) == ((400, "bad_request"), name)


async def test_nothing_of_another_tenant_is_found(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    session = await waiting(api, sessionId="theirs", title="Plans")
    request = (await api.get(f"/v1/sessions/{session}/runs")).json["runs"][0]["requestId"]
    other = gateway.client(stranger)
    for query in ("search=theirs", "search=Plans", f"search={request}", "endUser=eve"):
        assert await ids(other, query) == []
    assert (await other.get("/v1/inbox")).json == {"waits": [], "total": 0, "nextCursor": None}
    answer = await other.get(f"/v1/sessions/{session}/runs/{request}/responses")
    assert answer.error == (404, "session_not_found")


async def test_the_inbox_has_approvals_and_questions_until_they_are_settled(api: Client) -> None:
    approval, question = await waiting(api, title="A release"), await waiting(api, "ask me")
    first, second = await waits(api)
    assert (first["kind"], first["sessionId"], first["title"]) == ("approval", approval, "A release")
    assert (second["kind"], second["sessionId"], second["approval"]) == ("question", question, None)
    pending = (await api.get(f"/v1/sessions/{approval}/status")).json["pendingApprovals"]
    assert [first["approval"]] == pending
    assert first["expiresAt"] == pending[0]["expiresAt"]
    await api.post(f"/v1/sessions/{approval}/approve", {"approvalId": first["approval"]["approvalId"]})
    assert [wait["sessionId"] for wait in await waits(api)] == [question]
    await api.post(f"/v1/sessions/{question}/abort", {})
    assert await waits(api) == []


async def test_the_inbox_is_paged_in_the_order_in_which_waits_expire(api: Client) -> None:
    made = [await waiting(api) for _ in range(3)]
    seen, cursor = [], ""
    for left in (3, 2, 1):
        page = (await api.get(f"/v1/inbox?limit=1{cursor}")).json
        assert page["total"] == 3
        seen += [wait["sessionId"] for wait in page["waits"]]
        assert (page["nextCursor"] is None) is (left == 1)
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == made


@pytest.mark.parametrize("cursor", ["x", "1", "1.", ".call_1", f"{'9' * 17}.call_1", "1.call%2F1", "-1.a"])
async def test_a_wrong_place_in_the_inbox_is_named(api: Client, cursor: str) -> None:
    answer = await api.get(f"/v1/inbox?cursor={cursor}")
    assert (answer.error, answer.field) == ((400, "bad_request"), "cursor")


async def test_who_may_not_decide_has_no_inbox(gateway: GatewayHarness, tenant: Tenant) -> None:
    reader = await database.run(caller, tenant, [SESSIONS_READ])
    assert (await gateway.client(reader).get("/v1/inbox")).error == (403, "forbidden")
    reviewer = await database.run(caller, tenant, [APPROVALS])
    assert (await gateway.client(reviewer).get("/v1/inbox")).status == 200


async def test_the_total_is_counted_up_to_a_limit(api: Client, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_app.inbox.MOST_COUNTED", 1)
    for _ in range(2):
        await waiting(api)
    assert await database.run(inbox_total, owner.principal) == 1


async def test_the_events_of_one_run_are_read_in_pages(api: Client) -> None:
    session = await api.session()
    requests = [(await api.run(session, text))["requestId"] for text in ("one", "two", "three")]
    path = f"/v1/sessions/{session}/events?format=json&requestId={requests[1]}"
    whole = (await api.get(f"{path}&limit=1000")).json
    assert {event["data"]["requestId"] for event in whole["events"]} == {requests[1]}
    assert (whole["events"][0]["event"], whole["events"][-1]["event"]) == ("prompt_received", "agent_end")
    paged: list[Any] = []
    since: Any = 0
    while since is not None:
        page = (await api.get(f"{path}&limit=2&since={since}")).json
        paged += page["events"]
        since = page["nextCursor"]
    assert paged == whole["events"]
    assert (await api.get(f"/v1/sessions/{session}/events?format=json&requestId=run_none")).status == 404


async def test_the_responses_of_a_run_are_listed_with_their_costs(api: Client) -> None:
    session = await api.session(model="demo:tour")
    run = await api.run(session, "hello")
    answer = (await api.get(f"/v1/sessions/{session}/runs/{run['requestId']}/responses")).json["responses"]
    assert [response["number"] for response in answer] == list(range(1, len(answer) + 1)) or len(answer) == 1
    assert answer[0]["model"] == "demo:tour"
    assert sum(response["tokenUsage"]["totalTokens"] for response in answer) == run["tokenUsage"]["totalTokens"]
    assert answer[0]["costUsd"] == 0


async def test_the_activity_tells_of_what_happens_in_the_tenant(
    api: Client, gateway: GatewayHarness, stranger: Caller
) -> None:
    other = gateway.client(stranger)
    async with (
        api.events("", path="/v1/activity") as reader,
        other.events("", path="/v1/activity") as foreign,
    ):
        assert (await reader.next()).data == {"type": "activity", "waits": 0}
        assert (await foreign.next()).data == {"type": "activity", "waits": 0}
        session = await waiting(api)
        while (await reader.next()).data["waits"] != 1:
            pass
        await api.post(f"/v1/sessions/{session}/abort", {})
        while (await reader.next()).data["waits"] != 0:
            pass
        assert foreign.raw.count(b"data:") == 1


async def test_the_activity_needs_the_right_to_read_sessions(gateway: GatewayHarness, colleague: Caller) -> None:
    assert (await gateway.client(colleague).get("/v1/activity")).error == (403, "forbidden")
    assert (await gateway.client(None).get("/v1/activity")).error == (401, "unauthorized")


async def test_the_activity_takes_no_parameters(api: Client) -> None:
    refused = await api.get("/v1/activity?since=0")
    assert (refused.error, refused.field) == ((400, "bad_request"), "since")


async def test_a_look_that_fails_ends_no_stream(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([RuntimeError("away"), RuntimeError("away")])

    def count(*args: Any, **kwargs: Any) -> int:
        error = next(failures, None)
        if error is not None:
            raise error
        return 7

    monkeypatch.setattr("sessions_app.activity.waits_count", count)
    async with api.events("", path="/v1/activity") as reader:
        assert (await reader.next()).data["waits"] == 7


async def test_a_session_shows_what_it_cost(api: Client, owner: Caller) -> None:
    session = await api.session()
    await database.run(AgentSession.objects.filter(public_id=session).update, cost_usd="0.25", cost_known=False)
    shown = (await api.get(f"/v1/sessions/{session}")).json
    assert (shown["costUsd"], shown["costKnown"]) == (0.25, False)
