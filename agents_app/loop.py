"""The agent loop: one driver for every engine that talks to a model.

It walks the agent library's graph node by node (`Agent.iter`). A model request is streamed to the client and
checkpointed as soon as it is complete; its calls are settled through the leg under the gateway's own ids and
handed to the library as results, so an unknown tool or malformed arguments are answered like any call. A call
that stays open ends the leg as `Waiting`; a resumed leg starts at the same response and settles its calls anew.
A request that fails before its first byte is sent again, then to the next model.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Literal

from pydantic_ai import Agent, CallToolsNode, ModelRequestNode
from pydantic_ai.exceptions import ModelConnectionError, ModelTimeoutError, UserError
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
from pydantic_ai.tools import DeferredToolResult, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset
from pydantic_ai.usage import UsageLimits

from agents_app.attachments import Attachments
from agents_app.context_window import estimated_tokens
from agents_app.conversation import (
    THREAD_BYTES,
    Cut,
    answer_text,
    calls_renamed,
    history_bytes,
    messages_of,
    payload_of,
    response_cleaned,
    tool_requests,
    user_request,
)
from agents_app.engine import Failed, Finished, Leg, LegOutcome, ModelTurn, Stopped, Usage, Waiting
from agents_app.events import ModelFallback
from agents_app.failures import PROVIDER_ERRORS, RETRY_WINDOW, ProviderRests, failure, retry_delay
from agents_app.history_trim import fitted
from agents_app.ready_model import ServedModel
from agents_app.response_format import EMPTY, MAX_ASKED_AGAIN, AnswerFormat
from agents_app.response_usage import usage_of
from agents_app.spans import model_span, response_noted
from agents_app.streaming import MAX_CALLS, ResponseStream
from agents_app.tool_calls import calls_settled
from core_app.ids import new_id
from core_app.tracing import tracing_enabled

logger = logging.getLogger(__name__)

Graph = AgentRun[None, Any]
Request = ModelRequestNode[None, Any]
Response = CallToolsNode[None, Any]

# The library greets the first user of a terminal.
os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")
_AGENT: Agent[None, str] = Agent(name="gateway")
_NO_LIMITS = UsageLimits(request_limit=None)
"""The library stops at 50 requests of its own accord; `max_turns` counts for the run, not for the leg."""


class _RunsAway(Exception):
    """A response was stopped in its middle; `response` is what had come of it."""

    def __init__(self, response: ModelResponse) -> None:
        super().__init__()
        self.response = response


class AgentLoop:
    """One leg. `_messages` is always the whole conversation as the model knows it, ready to begin from again."""

    def __init__(self, leg: Leg, served: Sequence[ServedModel]) -> None:
        self._leg = leg
        self._candidates = list(served)
        self._format = AnswerFormat.of(leg.session.response_format)
        self._messages: list[ModelMessage] = []
        self._attachments = Attachments(leg)
        self._turns = leg.run.turns
        self._tries = 0
        self._asked_at = 0.0
        self._stream: ResponseStream | None = None
        self._cut: Cut | None = None

    @property
    def _served(self) -> ServedModel:
        return self._candidates[0]

    async def run(self) -> LegOutcome:
        """Drives the conversation to the end of the leg; a new graph begins only after a failure."""
        self._messages = await self._conversation()
        while True:
            try:
                async with self._graph() as graph:
                    return await self._walk(graph)
            except PROVIDER_ERRORS as error:
                if (outcome := await self._recovered(error)) is not None:
                    return outcome

    async def _conversation(self) -> list[ModelMessage]:
        history, model = self._leg.history, self._served.name
        if self._leg.kept_for not in (None, model):
            history = await self._leg.whole_history()
        if history_bytes(history) > THREAD_BYTES:
            messages = await asyncio.to_thread(messages_of, history, model=model)
        else:
            messages = messages_of(history, model=model)
        window = self._served.context_window
        if window is not None and estimated_tokens(messages) > window:
            self._messages = messages
            await self._shorten()
            return self._messages
        return messages

    def _graph(self) -> AbstractAsyncContextManager[Graph]:
        session, served = self._leg.session, self._served
        instructions = [session.system_prompt] if session.system_prompt else []
        output_type: Any = str
        if self._format is not None:
            output_type = self._format.output_type(json_schema=served.json_schema)
            instructions += [self._format.instructions()] if output_type is str else []
        tools = [
            ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters))
            for tool in session.tools
        ]
        return _AGENT.iter(
            message_history=list(self._messages),
            model=self._attachments.model(served.model, self._messages),
            model_settings=served.settings,
            output_type=output_type,
            instructions=instructions or None,
            toolsets=[ExternalToolset(tools)],
            usage_limits=_NO_LIMITS,
        )

    async def _walk(self, graph: Graph) -> LegOutcome:
        last = self._messages[-1]
        # The library's own first node would send a response without calls back to the model.
        node: Any = CallToolsNode(last) if isinstance(last, ModelResponse) else graph.next_node
        while True:
            step: Any
            if isinstance(node, ModelRequestNode):
                step = await self._ask(graph, node)
            elif isinstance(node, CallToolsNode):
                step = await self._act(graph, node.model_response)
            else:
                step = await graph.next(node)
            if isinstance(step, LegOutcome):
                return step
            node = step

    async def _ask(self, graph: Graph, node: Request) -> Response | LegOutcome:
        """One model response, from the request to its checkpoint."""
        limit = self._leg.session.max_turns
        if self._turns >= limit:
            return Stopped("max_turns", f"The run reached its limit of {limit} model responses.")
        if (message := await self._served.budget.exhausted_reason()) is not None:
            return Stopped("budget", message)
        if self._tries == 0:
            await self._rested()
        if not node.is_resuming_without_prompt:
            self._messages.append(replace(node.request))
        await self._steer(node)
        message_id = new_id("msg")
        self._stream = stream = ResponseStream(self._leg, message_id, hold=self._format is not None)
        try:
            # Before the circuit and the timer: who waits for room is not kept waiting by the provider.
            async with self._attachments.read(self._messages):
                if self._tries == 0:
                    self._asked_at = time.monotonic()
                with (
                    self._served.circuit.observe_request(),
                    model_span(self._leg, self._served, self._messages) as asking,
                ):
                    following = await self._response(graph, node, stream)
                    if tracing_enabled():
                        response_noted(asking, following.model_response, self._usage(following.model_response))
        except _RunsAway as error:
            return await self._cut_off(error.response, message_id, stream)
        self._stream, self._tries = None, 0
        await self._checkpoint(following.model_response, message_id, stream)
        return following

    async def _rested(self) -> None:
        """Until the provider may be asked, when that takes no longer than a pause between two tries and nobody else
        is left to ask; else raises ProviderRests."""
        waited = 0.0
        while (rest := self._served.circuit.cooldown_remaining()) is not None:
            if len(self._candidates) > 1 or rest > self._served.retry.max_delay or waited > RETRY_WINDOW:
                raise ProviderRests(f"It rests for another {rest:.1f} s.")
            await asyncio.sleep(rest)
            waited += rest

    async def _response(self, graph: Graph, node: Request, stream: ResponseStream) -> Response:
        """The model's response to the node, whole; raises what a provider failed with, and _RunsAway."""
        try:
            await self._stream_through(graph, node, stream)
        except (AssertionError, NotImplementedError, ValueError) as error:
            # How the library says that a part of the conversation cannot be put in the provider's form.
            if stream.began:
                raise
            raise UserError("The request cannot be expressed.") from error
        following = await graph.next(node)
        if not isinstance(following, CallToolsNode):
            raise TypeError(f"After a model request came {type(following).__name__}.")
        if following.model_response.finish_reason is None and self._served.says_end:
            raise ModelConnectionError(self._served.name, "The stream ended in the middle of the answer.")
        return following

    async def _stream_through(self, graph: Graph, node: Request, stream: ResponseStream) -> None:
        """Feeds the response to its stream; ModelTimeoutError when nothing of it came in time.

        One timer for the first event: the library's own setting arms a deadline around each (0.59 of the bare
        loop's rate with it, 0.69 without). The provider's events are taken where they come in: on their way through
        the library, hooks that nobody set would cost two locks and two cancel scopes each (60 µs an event through
        them, 31 without). What the library does at a response's end it does from the same, spent stream.
        """
        timer = asyncio.timeout(self._served.first_event_seconds)
        try:
            async with timer, node.stream(graph.ctx) as events:
                async for event in events._raw_stream_response:
                    if not stream.began:
                        timer.reschedule(None)
                    await stream.feed(event)
                    if stream.runs_away:
                        raise _RunsAway(events.response)
        except TimeoutError as error:
            if timer.expired():
                raise ModelTimeoutError(self._served.name, "Nothing came in time.") from error
            raise

    async def _steer(self, node: Request) -> None:
        """What the user said since the last request joins this one, as a message of its own in the conversation."""
        if texts := await self._leg.steering():
            said = user_request(texts)
            self._messages.append(said)
            node.request.parts = [*node.request.parts, *said.parts]

    async def _cut_off(self, response: ModelResponse, message_id: str, stream: ResponseStream) -> Failed:
        """Ends the run of a model that has lost its way, with what it cost so far and without its calls."""
        response = replace(response, parts=[part for part in response.parts if not isinstance(part, ToolCallPart)])
        await self._checkpoint(response, message_id, stream)
        return Failed("unprocessable", f"The model asked for more than {MAX_CALLS} tool calls at once.")

    async def _checkpoint(self, response: ModelResponse, message_id: str, stream: ResponseStream) -> None:
        response_cleaned(response, message_id, self._cut)
        text = self._visible_text(response)
        await stream.release(text)
        usage = self._usage(response)
        kept_from = self._cut.kept_from if self._cut is not None else None
        turn = ModelTurn(message_id, text, tool_requests(response.tool_calls), usage, payload_of(response), kept_from)
        calls_renamed(response, await self._leg.checkpoint(turn))
        self._served.budget.record_spend(usage)
        self._turns += 1
        self._messages.append(response)

    def _usage(self, response: ModelResponse) -> Usage:
        return usage_of(response, self._served, self._messages)

    def _visible_text(self, response: ModelResponse) -> str:
        """What the client reads: with a response format only an answer that fits, in its canonical form."""
        text = answer_text(response)
        if self._format is None or response.tool_calls:
            return text
        try:
            return self._format.fitted(text)
        except ValueError:
            return ""

    async def _act(self, graph: Graph, response: ModelResponse) -> Any:
        """Settles a response's calls, or ends the run with its answer."""
        if calls := response.tool_calls:
            results = await calls_settled(self._leg, [call.tool_call_id for call in calls])
            if results is None:
                return Waiting()
            told: dict[str, DeferredToolResult | Literal["skip"]] = {
                call_id: ToolReturn(content) for call_id, content in results.items()
            }
            return await graph.next(CallToolsNode(response, tool_call_results=told))
        if texts := await self._leg.steering():
            return ModelRequestNode(user_request(texts))
        return self._answer(response)

    def _answer(self, response: ModelResponse) -> Finished | Failed | Request:
        """The end of the run, or the request to answer again when there is no answer in the response."""
        text = answer_text(response)
        try:
            if not (text if self._served.may_be_blank else text.strip()):
                raise ValueError(EMPTY)
            return Finished(text if self._format is None else self._format.fitted(text))
        except ValueError as error:
            objection = str(error)
        if response.finish_reason == "length":
            return Failed("unprocessable", "The model reached its limit of tokens before it had answered.")
        if response.finish_reason == "content_filter":
            return Failed("unprocessable", "The provider's content filter kept the model from answering.")
        if self._answers_refused() > MAX_ASKED_AGAIN:
            return Failed("unprocessable", "The model gave no answer of the form that was asked for.")
        feedback = RetryFeedbackPart(content=objection, retry=RetryInfo(cause="model_retry"))
        return ModelRequestNode(ModelRequest(parts=[feedback]))

    def _answers_refused(self) -> int:
        """How many responses since the user last spoke or a tool answered were no answer; survives a new leg."""
        refused = 0
        for message in reversed(self._messages):
            if isinstance(message, ModelResponse):
                if message.tool_calls:
                    break
                refused += 1
            elif any(isinstance(part, UserPromptPart) for part in message.parts):
                break
        return refused

    async def _recovered(self, error: BaseException) -> LegOutcome | None:
        """What follows a provider's failure: None to ask again (after a pause, shorter, or elsewhere), else the end."""
        served = self._served
        logger.warning("%s failed: %s: %s", served.name, type(error).__name__, error)
        failed = failure(error, served.name)
        if self._stream is not None and self._stream.began:
            return failed
        if failed.code == "context_length_exceeded":
            return None if await self._shorten() else failed
        delay = retry_delay(served.retry, self._tries, time.monotonic() - self._asked_at, error)
        if delay is not None:
            self._tries += 1
            await asyncio.sleep(delay)
            return None
        if not failed.retryable or len(self._candidates) == 1:
            return failed
        self._candidates.pop(0)
        self._tries = 0
        await self._leg.emit(ModelFallback(from_model=served.name, to_model=self._served.name, reason=failed.code))
        return None

    async def _shorten(self) -> bool:
        short = await fitted(self._leg, self._served, self._messages)
        if short is None:
            return False
        self._messages, self._cut = short.messages, short.cut
        return True
