"""The runner's side of `agents_app.engine.Leg`: durability, fencing and the order of events for every engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from django.conf import settings

from agents_app.engine import (
    Attachment,
    CallResult,
    Failed,
    Finished,
    HistoryMessage,
    LegOutcome,
    ModelTurn,
    PlannedCall,
    RunSpec,
    SessionSpec,
    Usage,
)
from agents_app.events import MessageDelta, ThinkingDelta
from agents_app.guardrails import Subject, answer_refusal, tool_refusal
from core_app import database, jsontext
from core_app.metrics import FIRST_TOKEN_SECONDS, TOKENS
from events_app.flusher import FLUSHER
from events_app.types import Event
from sessions_app.legs.attachments import attachments_fetch
from sessions_app.legs.checkpoints import leg_spend, steering_deliver, turn_checkpoint
from sessions_app.legs.history import attachment_read, history_load, run_spec, session_builtins, session_spec
from sessions_app.legs.start import LegStart
from sessions_app.models import AgentSession
from sessions_app.services.messages import tool_result_store
from tenants_app.models import Tenant
from tools_app import calls
from tools_app.models import ToolCall
from tools_app.states import CallState
from tools_app.types import CallContext


class RunnerLeg:
    """One leg. What was emitted is committed before anything transactional, so events keep the leg's order."""

    session: SessionSpec
    run: RunSpec
    history: tuple[HistoryMessage, ...]

    def __init__(self, start: LegStart) -> None:
        self._start = start
        self.kept_for = start.session.kept_for
        self._writer = FLUSHER.writer(start.fence, start.run.pk)
        self._steering_lock = asyncio.Lock()
        self._began = time.perf_counter()
        self._spoke = False

    async def load(self) -> None:
        """Reads what the engine needs, before the leg is lent. Raises GatewayError when it cannot be had."""
        start = self._start
        await attachments_fetch(run_id=start.run.pk, fence=start.fence, tenant_id=start.session.tenant_id)
        self.session, self.run, self.history, self._context = await database.run(self._load)

    def _load(self) -> tuple[SessionSpec, RunSpec, tuple[HistoryMessage, ...], CallContext]:
        session = self._start.session
        spec = session_spec(session)
        return spec, run_spec(self._start.run), history_load(session), call_context(session, self._start.run.pk)

    async def whole_history(self) -> tuple[HistoryMessage, ...]:
        """See `Leg.whole_history`."""
        return await database.run(history_load, self._start.session, whole=True)

    async def attachment(self, attachment: Attachment) -> bytes | None:
        """See `Leg.attachment`."""
        if attachment.stored is None:
            return attachment.data
        return await database.run(attachment_read, session_id=self._start.session.pk, pk=attachment.stored)

    async def emit(self, event: Event) -> None:
        """See `Leg.emit`."""
        if not self._spoke and isinstance(event, MessageDelta | ThinkingDelta):
            self._spoke = True
            FIRST_TOKEN_SECONDS.labels(self._start.session.engine).observe(time.perf_counter() - self._began)
        await self._writer.emit(event)

    async def drain(self) -> None:
        """Until everything emitted is committed."""
        await self._writer.drain()

    async def flush(self) -> None:
        """The same for a leg that has failed: whether or not it can still be written, nothing of it comes later."""
        with contextlib.suppress(Exception):
            await self._writer.drain()

    async def checkpoint(self, turn: ModelTurn) -> tuple[PlannedCall, ...]:
        """See `Leg.checkpoint`."""
        await self._writer.drain()
        planned = await database.run(turn_checkpoint, self._start, turn)
        self._counted(turn.usage)
        return planned

    def _counted(self, usage: Usage) -> None:
        for direction, count in (("in", usage.input_tokens), ("out", usage.output_tokens)):
            TOKENS.labels(usage.model, direction).inc(count)

    async def spend(self, usage: Usage) -> None:
        """See `Leg.spend`."""
        await self._writer.drain()
        await database.run(leg_spend, self._start, usage)
        self._counted(usage)

    async def call(self, call_id: str) -> CallResult | None:
        """See `Leg.call`."""
        await self._writer.drain()
        if settings.GATEWAY_GUARDRAILS and (reason := await database.run(self._call_refusal, call_id)) is not None:
            return await calls.call_refuse(
                call_id=call_id, fence=self._start.fence, reason=reason, on_settled=tool_result_store
            )
        return await calls.call_execute(
            call_id=call_id, fence=self._start.fence, context=self._context, on_settled=tool_result_store
        )

    async def steering(self) -> tuple[str, ...]:
        """See `Leg.steering`."""
        async with self._steering_lock:
            await self._writer.drain()
            return await database.run(steering_deliver, self._start)

    async def judged(self, outcome: LegOutcome) -> LegOutcome:
        """The outcome, or what it becomes when a guardrail refuses the answer."""
        if not isinstance(outcome, Finished) or not settings.GATEWAY_GUARDRAILS:
            return outcome
        reason = await database.run(self._answer_refusal, outcome.content)
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
    """What executing a call needs to know of its session; a tool is also tried without a run."""
    from_text: Any = jsontext.decode
    return CallContext(
        session_id=session.public_id,
        request_id=run_id,
        tenant_id=session.tenant_id,
        approvals=from_text(session.approvals),
        builtins=session_builtins(session),
        base_url=settings.GATEWAY_PUBLIC_URL,
        approval_timeout_seconds=settings.GATEWAY_APPROVAL_TIMEOUT_SECONDS,
    )
