"""A composed response: turns of the model, with the hosted tools that it calls between them.

`events` yields what a provider of the Responses API would stream, without numbers. The lists of the servers' tools come
first, then the calls that a person has approved since, then turn after turn. The response ends when the model answers,
calls a tool of the client, or asks for a call that a person has to approve.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError, UpstreamError
from core_app.header_pairs import HeaderPairs
from core_app.ids import new_id
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser
from inference_app.conversion.writers.response_shape import response_shape
from inference_app.relay import Envelope, UpstreamRequest, upstream_call
from inference_app.relay.large_bodies import run_for_size
from responses_app.compaction import compaction_item, compaction_request, summary_message
from responses_app.dialect import QuietDialect
from responses_app.hosted.context import input_tokens, length_check, newest_turn, turns_truncate
from responses_app.hosted.items import kind_of, model_items
from responses_app.hosted.output import Call, Output, listing_events
from responses_app.hosted.plan import HostedPlan, left_out, shown_fields
from responses_app.hosted.servers import HostedTool
from responses_app.hosted.turn import StreamBroken, Turn
from responses_app.items import input_items, output_text, replayed_output
from tenants_app.principal import Principal
from tools_app.executors.mcp import SERVERS
from tools_app.types import Outcome

Json = dict[str, Any]

MAX_TURNS = 32
"""Turns of one response; the last one has no hosted tools, so that it answers."""

_LIMIT = "The limit of tool calls of this response (max_tool_calls) is reached: answer without this tool."


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Composition:
    """The input of a composed response. `envelope` is the request with its whole conversation; `kept` are the items of
    an earlier attempt, which stay, and `first_index` is the index behind all that clients have seen. `before_call` is
    awaited before a tool is called: what was said of the call must be safe by then."""

    envelope: Envelope
    plan: HostedPlan
    principal: Principal
    request_id: str
    forwarded_headers: Mapping[str, str] = field(default_factory=dict)
    kept: Sequence[Json] = ()
    first_index: int = 0
    before_call: Callable[[], Awaitable[None]] = _nothing


class HostedRun:
    """The run of one composed response."""

    def __init__(self, given: Composition) -> None:
        self._given = given
        self._plan = given.plan
        self._output = Output(given.first_index)
        self._response: Json = response_shape(given.plan.fields, new_id("resp"), int(time.time()))
        self._tools: dict[str, HostedTool] = {}
        self._calls = sum(kind_of(item) == "mcp_call" for item in given.kept)
        self._usage: Json | None = None
        self._begun = False
        self.headers: HeaderPairs = []
        """Those of the newest call to a provider."""

    async def events(self) -> AsyncGenerator[Json, None]:
        """Yields the events; the last one ends the response. Raises GatewayError where a provider fails: what was
        yielded until then stands."""
        envelope = self._given.envelope
        items = await prepared_check(self._plan, envelope)
        async for event in self._prepare_tools(items):
            yield event
        shown = model_items([*items, *self._replay(self._given.kept), *self._replay(self._output.items)])
        async for event in self._compact(shown):
            yield event
        shown = turns_truncate(self._plan, shown)
        async with aclosing(self._take_turns(shown, envelope)) as turns:
            async for event in turns:
                yield event

    async def _prepare_tools(self, items: Sequence[Any]) -> AsyncIterator[Json]:
        if not self._plan.servers:
            return
        await SERVERS.open([server.definition for server in self._plan.servers])
        known = {str(item.get("server_label")) for item in (*items, *self._given.kept) if _is_listing(item)}
        for server in self._plan.servers:
            tools = server.tools()
            self._tools |= {tool.name: tool for tool in tools}
            if server.label not in known or server.fault is not None:
                for event in self._begin(listing_events(server, tools, self._output)):
                    yield event
        for call in self._approved([*items, *self._given.kept]):
            for event in self._begin([*call.open(self._output), call.arguments_event("done", call.arguments)]):
                yield event
            async for event in self._make(call):
                yield event

    async def _compact(self, items: list[Any]) -> AsyncIterator[Json]:
        """Puts a summary in place of all before the newest turn, if the input is above the threshold. The list is
        changed in place."""
        threshold, at = self._plan.threshold, newest_turn(items)
        if threshold is None or at == 0 or input_tokens(self._plan, items) <= threshold:
            return
        head, tail = items[:at], items[at:]
        asked, _ = compaction_request(self._given.envelope.with_value("input", jsontext.encode(head)), None)
        async with upstream_call(self._request(asked)) as upstream:
            summary = output_text(jsontext.decode(upstream.first).get("output") or ())
        if not summary.strip():
            raise UpstreamError("The model returned no summary; try again, or with another model.")
        item = compaction_item(self._given.principal.tenant_id, summary, tail=tail)
        items[:] = [summary_message(summary), *tail]
        for event in self._begin(self._output.add_whole(item)):
            yield event

    async def _take_turns(self, items: list[Any], envelope: Envelope) -> AsyncGenerator[Json, None]:
        said = len(self._output.items)
        for number in range(1, MAX_TURNS + 1):
            turn = Turn(self._tools, self._output)
            shown = [*items, *model_items(self._replay(self._output.items[said:]))]
            async with aclosing(self._take_turn(turn, self._turn_envelope(envelope, shown, number))) as events:
                async for event in events:
                    yield event
            made = [call for call in turn.calls if not call.tool.needs_approval]
            for call in made:
                async for event in self._make(call):
                    yield event
            response = turn.response or {}
            waits = turn.asks_client or len(made) < len(turn.calls)
            if response.get("status") != "completed" or waits or not made:
                for event in self._begin([self._end(response)]):
                    yield event
                return
        raise UpstreamError(f"The model called tools in each of {MAX_TURNS} turns and gave no answer.")

    async def _take_turn(self, turn: Turn, envelope: Envelope) -> AsyncGenerator[Json, None]:
        dialect = QuietDialect()
        request = self._request(envelope, dialect)
        parser = EventParser()
        async with upstream_call(request) as upstream:
            self.headers = upstream.headers
            data = upstream.first or await upstream.more()
            while data:
                for event in self._begin(_read(turn, parser.feed(data))):
                    yield event
                data = await upstream.more()
        for event in self._begin(_read(turn, parser.end())):
            yield event
        if dialect.error is not None or turn.response is None:
            raise StreamBroken(dialect.error)
        self._add_usage(turn.response.get("usage"))

    async def _make(self, call: Call) -> AsyncIterator[Json]:
        """Makes a call and yields the events of its end."""
        limit = self._plan.wishes.max_calls
        if limit is not None and self._calls >= limit:
            outcome = Outcome("error", _LIMIT)
        else:
            self._calls += 1
            await self._given.before_call()
            outcome = await _outcome(call)
        if outcome.status == "ok":
            item = call.item("completed", output=outcome.content)
        else:
            content = [{"type": "text", "text": outcome.content}]
            item = call.item("failed", error={"type": "mcp_tool_execution_error", "content": content})
        yield call.event(item["status"])
        assert call.index is not None
        yield self._output.put(call.index, item)

    def _approved(self, items: Sequence[Any]) -> list[Call]:
        """Returns the calls that a person has approved and that were not made. Raises BadRequest for an approval of
        nothing that was asked for, or of a tool that the request does not name."""
        requests = {str(item.get("id")): item for item in items if kind_of(item) == "mcp_approval_request"}
        made = {str(item.get("approval_request_id")) for item in items if kind_of(item) == "mcp_call"}
        calls = []
        for number, item in enumerate(items):
            asked = str(item.get("approval_request_id")) if kind_of(item) == "mcp_approval_response" else None
            if asked is None or asked in made or item.get("approve") is not True:
                continue
            if (request := requests.get(asked)) is None:
                raise BadRequest(
                    "No approval was asked for with this id.", field=f"input[{number}].approval_request_id"
                )
            calls.append(Call(self._tool_of(request), new_id("mcp"), str(request.get("arguments") or "{}"), asked))
            made.add(asked)
        return calls

    def _tool_of(self, request: Json) -> HostedTool:
        label, name = request.get("server_label"), request.get("name")
        for tool in self._tools.values():
            if (tool.label, tool.tool.original) == (label, name):
                return tool
        raise BadRequest(f"The tool '{name}' of '{label}', which was approved, is not among 'tools'.", field="tools")

    def _turn_envelope(self, envelope: Envelope, items: Sequence[Any], number: int) -> Envelope:
        spent = self._plan.wishes.max_calls is not None and self._calls >= self._plan.wishes.max_calls
        hosted = [] if spent or number == MAX_TURNS else [tool.as_function() for tool in self._tools.values()]
        tools = [*self._plan.others, *hosted]
        changes: dict[str, bytes | None] = {"input": jsontext.encode(list(items)), "stream": b"true"}
        changes |= left_out(self._plan)
        if self._plan.servers:
            changes["tools"] = jsontext.encode(tools) if tools else None
            choice = self._choice(number) if tools else None
            changes["tool_choice"] = None if choice is None else jsontext.encode(choice)
        return envelope.with_changes(changes)

    def _choice(self, number: int) -> Any:
        """Returns `tool_choice` as the provider gets it. After the first turn a forced call has been made."""
        wanted = self._plan.fields.get("tool_choice")
        forced = wanted == "required" or isinstance(wanted, dict)
        if forced and number > 1:
            return "auto"
        if not isinstance(wanted, dict) or wanted.get("type") != "mcp":
            return wanted
        label, name = wanted.get("server_label"), wanted.get("name")
        meant = [
            {"type": "function", "name": tool.name}
            for tool in self._tools.values()
            if tool.label == label and name in (None, tool.tool.original)
        ]
        if not meant:
            raise BadRequest("'tool_choice' names a tool that is not among 'tools'.", field="tool_choice")
        return meant[0] if name is not None else {"type": "allowed_tools", "mode": "required", "tools": meant}

    def _request(self, envelope: Envelope, dialect: QuietDialect | None = None) -> UpstreamRequest:
        given, dialect = self._given, dialect or QuietDialect()
        return UpstreamRequest(
            kind="responses",
            envelope=envelope,
            principal=given.principal,
            request_id=given.request_id,
            dialect=dialect,
            converters=dialect.converters,
            forwarded_headers=given.forwarded_headers,
        )

    def _begin(self, events: Iterable[Json]) -> Iterable[Json]:
        """Yields the events, before the first of all those that begin the response."""
        for event in events:
            if not self._begun:
                self._begun = True
                begun = {**self._response, "output": []}
                yield {"type": "response.created", "response": begun}
                yield {"type": "response.in_progress", "response": begun}
            yield event

    def _end(self, response: Json) -> Json:
        status = str(response.get("status"))
        kind = f"response.{status}" if status in ("completed", "incomplete", "failed") else "response.failed"
        about = {name: self._response[name] for name in ("id", "created_at")}
        whole = {**response, **about, **shown_fields(self._plan), "output": self._output.items, "usage": self._usage}
        return {"type": kind, "response": whole}

    def _add_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage = _sum(self._usage or {}, usage)

    def _replay(self, items: Sequence[Json]) -> list[Any]:
        replayed: list[Any] = jsontext.decode(replayed_output(jsontext.encode_text(list(items)), 0))
        return replayed


async def prepared_check(plan: HostedPlan, envelope: Envelope) -> list[Any]:
    """Returns the items of a prepared request. Raises ContextTooLong for one that wants no truncation and does not
    fit."""
    given = input_items(envelope.fields.get("input")).encode()
    items: list[Any] = await run_for_size(len(given), jsontext.decode_untrusted, given)
    length_check(plan, model_items(items))
    return items


def failed_events(error: GatewayError, response: Json) -> Json:
    """Returns the event that ends a response which a failure of a provider cut off."""
    about = {"code": "server_error", "message": error.message}
    return {"type": "response.failed", "response": {**response, "status": "failed", "error": about}}


async def _outcome(call: Call) -> Outcome:
    try:
        arguments = jsontext.decode_untrusted(call.arguments.encode("utf-8", "replace"))
    except BadRequest:
        arguments = None
    if not isinstance(arguments, dict):
        return Outcome("error", "The arguments are not a JSON object.")
    tool = call.tool
    return await SERVERS.call(tool.key, tool.tool.original, arguments, idempotent=tool.tool.idempotent)


def _read(turn: Turn, datas: Iterable[bytes]) -> Iterable[Json]:
    for data in datas:
        event = None if data.strip() == DONE else exact_json.decode(data)
        if isinstance(event, dict):
            event.pop("sequence_number", None)
            yield from turn.read(event)


def _is_listing(item: Any) -> bool:
    return kind_of(item) == "mcp_list_tools"


def _sum(known: Json, more: Json) -> Json:
    """Returns the sum of two reports of usage."""
    total = dict(known)
    for name, value in more.items():
        before = total.get(name)
        if isinstance(value, dict):
            total[name] = _sum(before if isinstance(before, dict) else {}, value)
        elif isinstance(value, int) and isinstance(before, int):
            total[name] = before + value
        else:
            total[name] = value
    return total
