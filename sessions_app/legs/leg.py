"""The runner's implementation of `agents_app.engine.Leg`: durability, fencing and event order for every engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings

from agents_app.engine import (
    Attachment,
    CallResult,
    Completion,
    Failed,
    Finished,
    HistoryMessage,
    LegOutcome,
    PlannedCall,
    RunSpec,
    SessionSpec,
    Usage,
)
from agents_app.events import MessageDelta, MessageStart, ThinkingDelta, ThinkingStart
from agents_app.guardrails import Subject, answer_refusal, tool_refusal
from core_app import clock, database, jsontext
from core_app.metrics import FIRST_TOKEN_SECONDS, PROVIDER_WAITS
from events_app.flusher import FLUSHER
from events_app.types import Event
from sessions_app.events import ProviderResumed
from sessions_app.legs.attachments import attachments_fetch
from sessions_app.legs.checkpoints import completion_checkpoint, leg_spend, run_fenced, steering_deliver
from sessions_app.legs.history import (
    attachment_read,
    history_load,
    result_attachments,
    result_text,
    run_spec,
    session_builtins,
    session_spec,
)
from sessions_app.legs.requests import LegRequest, count_tokens, request_number
from sessions_app.legs.start import LegStart
from sessions_app.models import AgentSession
from sessions_app.services.messages import tool_result_store
from tenants_app.models import Tenant
from tools_app import calls
from tools_app.events import ToolUnavailable
from tools_app.executors import builtin, mcp
from tools_app.models import ToolCall
from tools_app.states import CallState
from tools_app.types import CallContext

P = ParamSpec("P")
R = TypeVar("R")

MAX_UNAVAILABLE = 32
"""Events about tools that cannot be used, of one run; operators and tenants find them all."""


class RunnerLeg:
    """One leg. Emitted events are committed before every transaction of the leg, so that they keep their order."""

    session: SessionSpec
    run: RunSpec
    history: tuple[HistoryMessage, ...]

    def __init__(self, start: LegStart) -> None:
        self._start = start
        self.kept_for = start.session.kept_for
        self._writer = FLUSHER.writer(start.fence, start.run.pk)
        self._steering_lock = asyncio.Lock()
        self._started_at = time.perf_counter()
        self._text_started = False
        self._first_output_at: datetime | None = None
        self._requests = 0
        self._provider_away = start.run.outage_since is not None

    async def load(self) -> None:
        """Reads the session, run and history for the engine, and downloads attachments. Raises GatewayError when that
        fails for a reason that a retry would not change."""
        start = self._start
        await attachments_fetch(run_id=start.run.pk, fence=start.fence, tenant_id=start.session.tenant_id)
        # Awaited here and not in the thread below, of which a silent MCP server could take all.
        builtins = session_builtins(start.session)
        await builtin.prepare(builtins, start.session.tenant_id)
        self.session, self.run, self.history, self._context = await self._in_database(self._load)
        if self.run.turns == 0:
            await self._tell_unavailable(builtins)

    async def _tell_unavailable(self, builtins: Sequence[str]) -> None:
        """Tells clients, once a run, what of the session's MCP servers the model is not offered."""
        for each in mcp.unavailable(builtins, self._start.session.tenant_id)[:MAX_UNAVAILABLE]:
            await self._writer.emit(ToolUnavailable(server=each.server, tool_name=each.tool, reason=each.reason))

    def _load(self) -> tuple[SessionSpec, RunSpec, tuple[HistoryMessage, ...], CallContext]:
        session = self._start.session
        spec = session_spec(session)
        return spec, run_spec(self._start.run), history_load(session), call_context(session, self._start.run.pk)

    async def _in_database(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await database.run_leg(self._start.session.tenant_id, function, *args, **kwargs)

    async def full_history(self) -> tuple[HistoryMessage, ...]:
        """See `Leg.full_history`."""
        return await self._in_database(history_load, self._start.session, full=True)

    async def read_attachment(self, attachment: Attachment) -> bytes | None:
        """See `Leg.read_attachment`."""
        if attachment.stored is None:
            return attachment.data
        return await self._in_database(attachment_read, session_id=self._start.session.pk, pk=attachment.stored)

    def begin_request(self, estimate: Callable[[], Usage]) -> LegRequest:
        """See `Leg.begin_request`."""
        return LegRequest(self._start, self._next_number(), estimate)

    def _number(self, usage: Usage) -> int:
        return self._next_number() if usage.request is None else usage.request

    def _next_number(self) -> int:
        self._requests += 1
        return request_number(self._start.run.attempt, self._requests)

    async def emit(self, event: Event) -> None:
        """See `Leg.emit`."""
        if self._provider_away and isinstance(event, MessageStart | ThinkingStart):
            await self._resume_provider()
        if not self._text_started and isinstance(event, MessageDelta | ThinkingDelta):
            self._text_started = True
            self._first_output_at = clock.now()
            FIRST_TOKEN_SECONDS.labels(self._start.session.engine).observe(time.perf_counter() - self._started_at)
        await self._writer.emit(event)

    async def _resume_provider(self) -> None:
        """Tells clients, before the first of the response, that the provider answers again."""
        self._provider_away = False
        PROVIDER_WAITS.labels("resumed").inc()
        await self._writer.emit(ProviderResumed())

    async def drain(self) -> None:
        """Waits until all emitted events are committed."""
        await self._writer.drain()

    async def flush(self) -> None:
        """Waits like `drain`, ignoring errors: after it no event of a failed leg is written any more."""
        with contextlib.suppress(Exception):
            await self._writer.drain()

    async def checkpoint(self, completion: Completion) -> tuple[PlannedCall, ...]:
        """See `Leg.checkpoint`."""
        if self._provider_away:
            await self._resume_provider()
        await self._writer.drain()
        number = self._number(completion.usage)
        planned = await self._in_database(
            completion_checkpoint, self._start, completion, number, first_output_at=self._first_output_at
        )
        count_tokens(completion.usage)
        return planned

    async def spend(self, usage: Usage) -> None:
        """See `Leg.spend`."""
        await self._writer.drain()
        await self._in_database(leg_spend, self._start, usage, self._number(usage))
        count_tokens(usage)

    async def call(self, call_id: str) -> CallResult | None:
        """See `Leg.call`."""
        await self._writer.drain()
        if settings.GATEWAY_GUARDRAILS and (reason := await self._in_database(self._call_refusal, call_id)) is not None:
            return await calls.call_refuse(
                call_id=call_id,
                fence=self._start.fence,
                context=self._context,
                reason=reason,
                on_settled=tool_result_store,
            )
        result = await calls.call_execute(
            call_id=call_id, fence=self._start.fence, context=self._context, on_settled=tool_result_store
        )
        if result is None or not result.media:
            return result
        stored = await self._in_database(result_attachments, session_id=self._start.session.pk, call_id=call_id)
        return replace(result, attachments=stored)

    async def transact(self, write: Callable[[], R]) -> R:
        """See `Leg.transact`."""
        return await self._in_database(run_fenced, self._start.fence, write)

    async def take_steering(self) -> tuple[str, ...]:
        """See `Leg.take_steering`."""
        async with self._steering_lock:
            await self._writer.drain()
            return await self._in_database(steering_deliver, self._start)

    async def check_answer(self, outcome: LegOutcome) -> LegOutcome:
        """Returns the outcome, or Failed when a guardrail refuses the run's answer."""
        if not isinstance(outcome, Finished) or not settings.GATEWAY_GUARDRAILS:
            return outcome
        reason = await self._in_database(self._answer_refusal, outcome.content)
        return outcome if reason is None else Failed("guardrail_refused", reason)

    def _answer_refusal(self, content: str) -> str | None:
        return answer_refusal(self._subject(), content)

    def _call_refusal(self, call_id: str) -> str | None:
        call = ToolCall.objects.get(pk=call_id)
        if call.state == CallState.SETTLED:
            return None
        return tool_refusal(self._subject(), call.tool_name, call.effective_args)

    def _subject(self) -> Subject:
        session, run = self._start.session, self._start.run
        slug = Tenant.objects.values_list("slug", flat=True).get(pk=session.tenant_id)
        return Subject(slug, session.public_id, session.model, run.end_user)


def call_context(session: AgentSession, run_id: str | None) -> CallContext:
    """Builds the view of a session that the execution of a tool call needs. `run_id` is None for tests of a tool."""
    from_text: Any = jsontext.decode
    return CallContext(
        session_id=session.public_id,
        request_id=run_id,
        tenant_id=session.tenant_id,
        approvals=from_text(session.approvals),
        builtins=session_builtins(session),
        base_url=settings.GATEWAY_PUBLIC_URL,
        approval_timeout_seconds=settings.GATEWAY_APPROVAL_TIMEOUT_SECONDS,
        read_result=partial(result_text, session.pk),
    )
