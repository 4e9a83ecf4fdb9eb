"""The agent loop of all engines that use a model.

It drives the agent library's graph node by node (`Agent.iter`). A model response is streamed to the client and
checkpointed once it is complete. Its tool calls are settled through the leg, under the gateway's own ids, and passed to
the library as results, including calls of unknown tools or with malformed arguments. A pending call ends the leg as
`Waiting`; the resumed leg starts at the same response and settles its calls again. A request that fails before its
first byte is retried and then sent to the next model.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Literal

import structlog
from pydantic_ai import Agent, CallToolsNode, ModelRequestNode
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    RetryInfo,
    ToolCallPart,
    ToolReturn,
    UserPromptPart,
)
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolResult
from pydantic_ai.toolsets import ExternalToolset
from pydantic_ai.usage import UsageLimits

from agents_app.attachments import Attachments
from agents_app.context_fit import ContextFit
from agents_app.conversation import (
    THREAD_BYTES,
    Cut,
    answer_text,
    clean_response,
    history_bytes,
    messages_of,
    payload_of,
    rename_calls,
    result_media,
    tool_requests,
    user_request,
)
from agents_app.engine import Completion, Failed, Finished, Leg, LegOutcome, Stopped, Usage, Waiting
from agents_app.events import ModelFallback
from agents_app.failures import (
    PROVIDER_ERRORS,
    WAIT_WINDOW,
    ProviderCoolingDown,
    failure,
    is_refused_content,
    outage_seconds,
)
from agents_app.history_trim import TrimmedHistory
from agents_app.ready_model import ServedModel
from agents_app.request_spend import RequestSpending
from agents_app.response_format import EMPTY_FEEDBACK, MAX_REPEATED_REQUESTS, ResponseFormat
from agents_app.response_usage import usage_of
from agents_app.spans import RequestSpans
from agents_app.streaming import MAX_CALLS, ResponseStream
from agents_app.tool_calls import settle_calls
from core_app.content_threads import CONTENT
from core_app.ids import new_id
from core_app.tracing import tracing_enabled
from inference_app.errors import BudgetSpent, MinuteBudgetSpent
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed

logger = structlog.get_logger("gateway.agents")

Graph = AgentRun[None, Any]
Request = ModelRequestNode[None, Any]
Response = CallToolsNode[None, Any]

# Otherwise the library prints a banner on a terminal.
os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")
_AGENT: Agent[None, str] = Agent(name="gateway")
_NO_LIMITS = UsageLimits(request_limit=None)
"""Switches off the library's default limit of 50 requests. `max_turns` is a limit of the run and not of the leg."""


class _Shortened(Exception):
    """The conversation was shortened, so it goes on with another graph."""


class _TooManyCalls(Exception):
    """A response was stopped because of its number of tool calls. `response` is the part that was received."""

    def __init__(self, response: ModelResponse) -> None:
        super().__init__()
        self.response = response


class AgentLoop:
    """The loop of one leg. `_messages` is always the complete conversation with the model, from which a new graph can
    be started."""

    def __init__(self, leg: Leg, served: Sequence[ServedModel]) -> None:
        self._leg = leg
        self._candidates = list(served)
        self._format = ResponseFormat.of(leg.session.response_format)
        self._messages: list[ModelMessage] = []
        self._attachments = Attachments(leg)
        self._turns = leg.run.turns
        self._away: list[float] = []
        """For each model that could not be asked, the seconds that its provider wants to be left alone."""
        self._stream: ResponseStream | None = None
        self._cut: Cut | None = None
        self._context = ContextFit(leg)

    @property
    def _model(self) -> ServedModel:
        return self._candidates[0]

    async def run(self) -> LegOutcome:
        """Runs the leg to its end. A new graph is started only after a failure."""
        self._messages = await self._conversation()
        while True:
            try:
                async with self._graph() as graph:
                    return await self._walk(graph)
            except _Shortened:
                continue
            except PROVIDER_ERRORS as error:
                if (outcome := await self._recover(error)) is not None:
                    return outcome

    async def _conversation(self) -> list[ModelMessage]:
        history, model = self._leg.history, self._model.name
        if self._leg.kept_for not in (None, model):
            history = await self._leg.full_history()
        if history_bytes(history) > THREAD_BYTES:
            messages = await CONTENT.run(lambda _: messages_of(history, model=model), owner=self._leg.session.tenant_id)
        else:
            messages = messages_of(history, model=model)
        return self._context.cut_stored(self._model, messages)

    def _graph(self) -> AbstractAsyncContextManager[Graph]:
        session, served = self._leg.session, self._model
        instructions = [session.system_prompt] if session.system_prompt else []
        output_type: Any = str
        if self._format is not None:
            output_type = self._format.output_type(json_schema=served.json_schema)
            instructions += [self._format.instructions()] if output_type is str else []
        return _AGENT.iter(
            message_history=list(self._messages),
            model=self._attachments.wrap_model(served.model),
            model_settings=served.settings,
            output_type=output_type,
            instructions=instructions or None,
            toolsets=[ExternalToolset(self._context.tools)],
            usage_limits=_NO_LIMITS,
        )

    async def _walk(self, graph: Graph) -> LegOutcome:
        last = self._messages[-1]
        # The library's first node would send a response without calls back to the model.
        node: Any = CallToolsNode(last) if isinstance(last, ModelResponse) else graph.next_node
        while True:
            step: Any
            if isinstance(node, ModelRequestNode):
                step = await self._request_response(graph, node)
            elif isinstance(node, CallToolsNode):
                step = await self._handle_response(graph, node.model_response)
            else:
                step = await graph.next(node)
            if isinstance(step, LegOutcome):
                return step
            node = step

    async def _request_response(self, graph: Graph, node: Request) -> Response | LegOutcome:
        """Requests one model response and checkpoints it."""
        limit = self._leg.session.max_turns
        if self._turns >= limit:
            return Stopped("max_turns", f"The run reached its limit of {limit} model responses.")
        await self._make_room(node)
        try:
            reservation = await self._model.budget.reserve([*self._messages, node.request])
        except (BudgetSpent, MinuteBudgetSpent) as error:
            return Stopped("budget", error.message)
        with RequestSpending(self._leg, self._model, self._messages, reservation) as spending:
            return await self._request_within_budget(graph, node, spending)

    async def _request_within_budget(
        self, graph: Graph, node: Request, spending: RequestSpending
    ) -> Response | LegOutcome:
        await self._wait_for_cooldown()
        if not node.is_resuming_without_prompt:
            self._messages.append(replace(node.request))
        await self._add_steering(node)
        message_id = new_id("msg")
        self._stream = stream = ResponseStream(self._leg, message_id, spending, hold=self._format is not None)
        try:
            async with self._attachments.read(self._messages):
                with RequestSpans(self._leg, self._model, self._messages) as spans:
                    fed = self._model.observe(spending, spans, stream.feed)
                    following = await self._read_response(graph, node, stream, fed=fed)
                    if tracing_enabled():
                        spans.record_response(following.model_response, self._usage(following.model_response))
        except _TooManyCalls as error:
            return await self._end_runaway(error.response, message_id, stream, spending)
        self._stream = None
        await self._checkpoint(following.model_response, message_id, stream, spending)
        return following

    async def _make_room(self, node: Request) -> None:
        """Raises _Shortened if the conversation had to change for the request to fit the model's context."""
        added = None if node.is_resuming_without_prompt else node.request
        if (short := await self._context.make_room(self._model, self._messages, added)) is not None:
            self._take_shortened(short)
            raise _Shortened

    async def _wait_for_cooldown(self) -> None:
        """Waits for the end of the provider's cooldown. Raises ProviderCoolingDown if there is another candidate, or if
        it takes longer than the longest pause between two attempts."""
        waited = 0.0
        while (cooldown := self._model.circuit.cooldown_remaining()) is not None:
            if len(self._candidates) > 1 or cooldown > self._model.longest_wait or waited > WAIT_WINDOW:
                raise ProviderCoolingDown(cooldown)
            await asyncio.sleep(cooldown)
            waited += cooldown

    async def _read_response(self, graph: Graph, node: Request, stream: ResponseStream, *, fed: bool) -> Response:
        """Reads the complete response to the node; `fed`: `stream` gets its events from the model itself. Raises
        PROVIDER_ERRORS and _TooManyCalls."""
        try:
            await self._stream_through(graph, node, stream, fed=fed)
        except (AssertionError, NotImplementedError, ValueError) as error:
            # The library raises these when a part of the conversation cannot be expressed for the provider.
            if stream.began:
                raise
            raise UserError("The request cannot be expressed.") from error
        following = await graph.next(node)
        if not isinstance(following, CallToolsNode):
            raise TypeError(f"After a model request came {type(following).__name__}.")
        if following.model_response.finish_reason is None and self._model.says_end:
            raise AttemptFailed(Fault("disconnected", "stream_ended"))
        return following

    async def _stream_through(self, graph: Graph, node: Request, stream: ResponseStream, *, fed: bool) -> None:
        """Feeds the response to `stream`.

        Events are taken from the model's raw stream, because the library's hooks cost two locks and two cancel scopes
        per event even when unused (60 µs an event with them, 31 without). The library's processing at the end of a
        response still works on the consumed stream.
        """
        async with node.stream(graph.ctx) as events:
            async for event in events._raw_stream_response:
                if not fed and not await stream.feed(event):
                    break
            if stream.has_too_many_calls:
                raise _TooManyCalls(events.response)

    async def _add_steering(self, node: Request) -> None:
        """Adds steering texts to the request, as a message of their own in the conversation."""
        if texts := await self._leg.take_steering():
            message = user_request(texts)
            self._messages.append(message)
            node.request.parts = [*node.request.parts, *message.parts]

    async def _end_runaway(
        self, response: ModelResponse, message_id: str, stream: ResponseStream, spending: RequestSpending
    ) -> Failed:
        """Ends the run after too many tool calls, with the usage so far and without the calls."""
        response = replace(response, parts=[part for part in response.parts if not isinstance(part, ToolCallPart)])
        await self._checkpoint(response, message_id, stream, spending)
        return Failed("unprocessable", f"The model asked for more than {MAX_CALLS} tool calls at once.")

    async def _checkpoint(
        self, response: ModelResponse, message_id: str, stream: ResponseStream, spending: RequestSpending
    ) -> None:
        usage = spending.note_usage(self._usage(response))
        clean_response(response, message_id, self._cut)
        text = self._visible_text(response)
        await stream.release(text)
        kept_from = self._cut.kept_from if self._cut is not None else None
        completion = Completion(
            message_id, text, tool_requests(response.tool_calls), usage, payload_of(response), kept_from
        )
        rename_calls(response, await self._leg.checkpoint(completion))
        spending.note_committed()
        self._turns += 1
        self._messages.append(response)

    def _usage(self, response: ModelResponse) -> Usage:
        return usage_of(response, self._model, self._messages)

    def _visible_text(self, response: ModelResponse) -> str:
        """Returns the text that clients see. With a response format, that is only an answer that passes the check, as
        canonical JSON."""
        text = answer_text(response)
        if self._format is None or response.tool_calls:
            return text
        try:
            return self._format.check_answer(text)
        except ValueError:
            return ""

    async def _handle_response(self, graph: Graph, response: ModelResponse) -> Any:
        """Settles the calls of a response, or ends the run with its answer."""
        if calls := response.tool_calls:
            results = await settle_calls(self._leg, [call.tool_call_id for call in calls])
            if results is None:
                return Waiting()
            tool_results: dict[str, DeferredToolResult | Literal["skip"]] = {
                call_id: ToolReturn(result.content, content=result_media(result.attachments))
                for call_id, result in results.items()
            }
            return await graph.next(CallToolsNode(response, tool_call_results=tool_results))
        if texts := await self._leg.take_steering():
            return ModelRequestNode(user_request(texts))
        return self._finish_or_ask_again(response)

    def _finish_or_ask_again(self, response: ModelResponse) -> Finished | Failed | Request:
        """Returns the outcome of the run, or the request for another answer if this one is empty or violates the
        format."""
        text = answer_text(response)
        try:
            if not (text if self._model.may_be_blank else text.strip()):
                raise ValueError(EMPTY_FEEDBACK)
            return Finished(text if self._format is None else self._format.check_answer(text))
        except ValueError as error:
            objection = str(error)
        if response.finish_reason == "length":
            return Failed("unprocessable", "The model reached its limit of tokens before it had answered.")
        if response.finish_reason == "content_filter":
            return Failed("unprocessable", "The provider's content filter kept the model from answering.")
        if self._count_refused_answers() > MAX_REPEATED_REQUESTS:
            return Failed("unprocessable", "The model gave no answer of the form that was asked for.")
        feedback = RetryFeedbackPart(content=objection, retry=RetryInfo(cause="model_retry"))
        return ModelRequestNode(ModelRequest(parts=[feedback]))

    def _count_refused_answers(self) -> int:
        """Counts the refused answers since the last user message or tool result, including those of earlier legs."""
        refused = 0
        for message in reversed(self._messages):
            if isinstance(message, ModelResponse):
                if message.tool_calls:
                    break
                refused += 1
            elif any(isinstance(part, UserPromptPart) for part in message.parts):
                break
        return refused

    async def _recover(self, error: BaseException) -> LegOutcome | None:
        """Handles a provider error. Returns None to send the request again, with a shorter conversation or to the next
        model, else the outcome of the leg."""
        served = self._model
        logger.warning("model_request_failed", model=served.name, error=type(error).__name__, detail=str(error))
        failed = failure(error, served.name)
        if self._stream is not None and self._stream.began:
            return failed
        if failed.code == "context_length_exceeded":
            return None if await self._shorten() else failed
        if is_refused_content(error) and served.simplify():
            return None
        away = outage_seconds(error) if served.may_be_away else None
        if away is not None:
            self._away.append(away)
        if not failed.retryable or len(self._candidates) == 1:
            return failed if away is None else replace(failed, resume_after=min(self._away))
        self._candidates.pop(0)
        self._messages = self._context.cut_stored(self._model, self._messages)
        await self._leg.emit(ModelFallback(from_model=served.name, to_model=self._model.name, reason=failed.code))
        return None

    async def _shorten(self) -> bool:
        """Shortens the conversation that a provider found too long. Returns false if nothing may be left out."""
        if (short := await self._context.shorten(self._model, self._messages)) is None:
            return False
        self._take_shortened(short)
        return True

    def _take_shortened(self, short: TrimmedHistory) -> None:
        self._messages, self._cut = short.messages, short.cut or self._cut
