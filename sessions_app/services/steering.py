"""Steering: texts that join a run under way, checked and bounded as prompts are."""

from __future__ import annotations

from django.conf import settings

from agents_app.guardrails import Subject, prompt_refusal
from core_app.errors import QueueFull, Unprocessable
from sessions_app.models import Run, SteeringNote
from sessions_app.selectors import session_get
from tenants_app.principal import Principal


def text_check(principal: Principal, public_id: str, text: str, end_user: str | None = None) -> None:
    """Checks a text with the operator's guardrails. Call it before the session is locked, because guardrails may be
    slow. Raises Unprocessable."""
    if settings.GATEWAY_GUARDRAILS:
        model = session_get(principal, public_id).model
        refusal = prompt_refusal(Subject(principal.tenant_slug, public_id, model, end_user), text)
        if refusal is not None:
            raise Unprocessable(refusal, field="text")


def steering_add(run: Run, text: str) -> None:
    """Stores a text for the run's next model request. The caller holds the stream's lock. Raises QueueFull, because a
    run may wait for days."""
    waiting = SteeringNote.objects.filter(run=run, delivered_at__isnull=True).count()
    if waiting >= settings.GATEWAY_MAX_QUEUED_PROMPTS:
        raise QueueFull(f"{waiting} texts wait to join the run (GATEWAY_MAX_QUEUED_PROMPTS); try again later.")
    SteeringNote.objects.create(run=run, text=text)
