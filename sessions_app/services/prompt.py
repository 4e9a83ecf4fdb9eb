"""Acceptance of prompts. The run, its event `prompt_received` and the wake-up are written in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django.conf import settings

from agents_app import registry as agents
from agents_app.engine import Attachment
from core_app import clock, jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, QueueFull
from core_app.guarded_client import AddressRefused, check_url
from core_app.tracing import reserve_span
from events_app import log
from sessions_app.events import PromptReceived
from sessions_app.models import (
    AgentSession,
    Run,
    RunState,
    SessionState,
    run_id,
)
from sessions_app.selectors import run_current, runs_unfinished
from sessions_app.services.attachments import attachments_store
from sessions_app.services.run_end import run_stop
from sessions_app.services.session import session_lock
from sessions_app.services.steering import steering_add, text_check
from sessions_app.services.tenant_limits import waiting_limit_check
from sessions_app.wakeup import WAKEUPS, SessionKey
from tenants_app.principal import Principal

WhenBusy = Literal["enqueue", "reject", "interrupt", "steer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt whose types and bounds have been checked."""

    text: str
    attachments: Sequence[Attachment] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    when_busy: WhenBusy = "enqueue"
    end_user: str | None = None


@dataclass(frozen=True, slots=True)
class PromptReceipt:
    """The receipt of an accepted prompt. `run_pk` is the `requestId`; `queued` says that other runs come before it."""

    run_pk: str
    session_pk: int
    session_id: str
    queued: bool

    def to_wire(self) -> dict[str, Any]:
        """Returns the receipt as clients see it (docs/protocol-native.md)."""
        return {"requestId": self.run_pk, "sessionId": self.session_id, "queued": self.queued}


def prompt_accept(
    *,
    principal: Principal,
    public_id: str,
    prompt: Prompt,
    on_accepted: Callable[[PromptReceipt], object] | None = None,
) -> PromptReceipt:
    """Creates a run for the prompt, or adds it to the current one. The prompt is committed when this returns.

    `on_accepted` is called in the same transaction. Raises Conflict (`reject`, or a closed session), QueueFull,
    Unprocessable.
    """
    if principal.end_user is not None:
        prompt = replace(prompt, end_user=principal.end_user)
    text_check(principal, public_id, prompt.text, prompt.end_user)
    _addresses_check(principal, prompt)
    waiting_limit_check(principal.tenant_id)
    with write_transaction():
        receipt = _accept(principal, session_lock(principal, public_id), prompt)
        if on_accepted is not None:
            on_accepted(receipt)
    return receipt


def _accept(principal: Principal, session: AgentSession, prompt: Prompt) -> PromptReceipt:
    if prompt.attachments:
        agents.external_check(session.engine, prompt.attachments)
        resolved = agents.model_resolve(session.model, principal=principal)
        agents.attachments_check(resolved, prompt.attachments)
    busy = runs_unfinished(session.pk).exists()
    if busy:
        steered = _apply_when_busy(session, prompt)
        if steered is not None:
            return PromptReceipt(steered.pk, session.pk, session.public_id, queued=False)
        busy = runs_unfinished(session.pk).exists()
    run = _run_create(principal, session, prompt, queued=busy)
    WAKEUPS.announce(SessionKey(session.pk, session.tenant_id))
    return PromptReceipt(run.pk, session.pk, session.public_id, queued=busy)


def _addresses_check(principal: Principal, prompt: Prompt) -> None:
    for part in prompt.attachments:
        if part.url is not None:
            try:
                check_url(part.url, allow_private=principal.allow_private)
            except AddressRefused as error:
                raise BadRequest(f"The attachment's url {error.reason}", field="attachments") from None


def _apply_when_busy(session: AgentSession, prompt: Prompt) -> Run | None:
    """Applies `when_busy` to a busy session. Returns the current run if the prompt joined it, else None."""
    if prompt.when_busy == "reject":
        raise Conflict("The session is busy, and whenBusy is 'reject'.", field="whenBusy")
    present = run_current(session.pk)
    if present is not None and prompt.when_busy == "steer":
        if prompt.attachments:
            raise Conflict("Attachments cannot join a run that is under way.", field="attachments")
        steering_add(present, prompt.text)
        return present
    if present is not None and prompt.when_busy == "interrupt":
        run_stop(session=session, run=present, reason="aborted", message="Interrupted by a new prompt.")
    queued = runs_unfinished(session.pk).filter(state=RunState.QUEUED).count()
    if queued >= settings.GATEWAY_MAX_QUEUED_PROMPTS:
        raise QueueFull(f"{queued} prompts are waiting (GATEWAY_MAX_QUEUED_PROMPTS); try again when one has ended.")
    return None


def _run_create(principal: Principal, session: AgentSession, prompt: Prompt, *, queued: bool) -> Run:
    identity = run_id()
    stored = log.append(session.stream_id, [PromptReceived(text=prompt.text, queued=queued)], run_id=identity)
    session.prompt_count += 1
    run = Run.objects.create(
        id=identity,
        tenant_id=session.tenant_id,
        session=session,
        api_key_id=principal.key_id,
        number=session.prompt_count,
        text=prompt.text,
        metadata=jsontext.encode_text(prompt.metadata),
        end_user=prompt.end_user,
        urgent=prompt.when_busy == "interrupt",
        trace=reserve_span(),
        first_offset=stored[0].offset,
    )
    if prompt.attachments:
        attachments_store(run=run, parts=prompt.attachments)
    if session.state == SessionState.IDLE:
        session.state = SessionState.WORKING
    session.updated_at = clock.now()
    session.save(update_fields=["prompt_count", "state", "updated_at"])
    return run
