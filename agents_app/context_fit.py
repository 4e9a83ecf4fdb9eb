"""Fit of a leg's conversation to the context of the model that is asked.

Results that are too large are cut first, then the session's history policy applies to older messages. When only the
newest exchange is left, its results are cut further. Whatever is left out, clients are told, and the stored history
stays complete. A session with the policy `error` sends its conversation as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic_ai.messages import ModelMessage, ModelRequest
from pydantic_ai.tools import ToolDefinition

from agents_app.context_room import ContextRoom, context_room, fixed_tokens
from agents_app.context_window import estimated_tokens
from agents_app.engine import Leg, ToolSpec
from agents_app.events import ContextTruncated
from agents_app.history_trim import TrimmedHistory, fit_history
from agents_app.ready_model import ServedModel
from agents_app.result_cut import ResultCutter, cut_count
from tools_app.executors.read_result import SPEC as READ_RESULT


class ContextFit:
    """The fit of one leg. `tools` are those that the model is offered; `read_result` joins them with the first result
    that is cut."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._fixed_tokens = fixed_tokens(leg.session)
        self._is_applied = leg.session.history_policy != "error"
        self.tools = [_tool_definition(tool) for tool in leg.session.tools]
        self._cutter = ResultCutter(readable=all(tool.name != READ_RESULT.name for tool in leg.session.tools))

    def cut_stored(self, served: ServedModel, messages: list[ModelMessage]) -> list[ModelMessage]:
        """Returns the conversation with results that fit the model's context. CPU-bound."""
        if (room := self._room(served, messages)) is None:
            return messages
        messages = self._cutter.cut_messages(messages, room)
        self._offer_read_result()
        return messages

    async def make_room(
        self, served: ServedModel, messages: Sequence[ModelMessage], added: ModelRequest | None
    ) -> TrimmedHistory | None:
        """Cuts the results in the request that is `added` to the messages. Returns the conversation to start again
        with, the request included, if it would not fit or `read_result` was offered for the first time; None to go on.
        """
        if (room := self._room(served, messages)) is None:
            return None
        offered = len(self.tools)
        if added is not None:
            await self._cut_new(added, room)
            messages = [*messages, replace(added)]
        if not room.holds(messages) and (short := await self.shorten(served, messages)) is not None:
            return short
        # A running graph would tell the model about the tool, in words of the library's own.
        return TrimmedHistory(list(messages), None) if len(self.tools) > offered else None

    async def shorten(self, served: ServedModel, messages: Sequence[ModelMessage]) -> TrimmedHistory | None:
        """Drops the oldest messages, or more of the results of the newest exchange. Returns None if nothing may be left
        out."""
        if not self._is_applied:
            return None
        if (short := await fit_history(self._leg, served, messages, self._room(served, messages))) is not None:
            return short
        if (tighter := self._cutter.tighten(messages)) is None:
            return None
        await self._tell_cut(messages, tighter)
        return TrimmedHistory(tighter, None)

    def _room(self, served: ServedModel, messages: Sequence[ModelMessage]) -> ContextRoom | None:
        return context_room(served, messages, fixed=self._fixed_tokens) if self._is_applied else None

    async def _cut_new(self, request: ModelRequest, room: ContextRoom) -> None:
        before = ModelRequest(parts=request.parts)
        request.parts = self._cutter.cut_parts(request.parts, room)
        await self._tell_cut([before], [request])

    async def _tell_cut(self, before: Sequence[ModelMessage], after: Sequence[ModelMessage]) -> None:
        """Tells clients of results that are shorter than before."""
        if results := cut_count(before, after):
            self._offer_read_result()
            tokens = estimated_tokens(before) - estimated_tokens(after)
            await self._leg.emit(ContextTruncated(messages=0, tokens=tokens, results=results))

    def _offer_read_result(self) -> None:
        if self._cutter.was_used and all(tool.name != READ_RESULT.name for tool in self.tools):
            self.tools.append(_tool_definition(READ_RESULT))


def _tool_definition(tool: ToolSpec) -> ToolDefinition:
    return ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters))
