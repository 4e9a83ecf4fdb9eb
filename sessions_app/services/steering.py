"""What joins a run that is under way: checked and bounded as prompts are."""

from __future__ import annotations

from django.conf import settings

from agents_app.guardrails import Subject, prompt_refusal
from core_app.errors import QueueFull, Unprocessable
from sessions_app.models import Run, SteeringNote
from sessions_app.selectors import session_get
from tenants_app.principal import Principal


def text_check(principal: Principal, public_id: str, text: str, end_user: str | None = None) -> None:
    """Asks the operator's guardrails, before the session is locked: they may take their time. Raises Unprocessable."""
    if settings.GATEWAY_GUARDRAILS:
        model = session_get(principal, public_id).model
        refusal = prompt_refusal(Subject(principal.tenant_slug, public_id, model, end_user), text)
        if refusal is not None:
            raise Unprocessable(refusal, field="text")


def steering_add(run: Run, text: str) -> None:
    """Keeps a text for the run's next model call; the stream is locked by the caller. Raises QueueFull: a run that
    waits for a day must not gather texts without end."""
    waiting = SteeringNote.objects.filter(run=run, delivered_at__isnull=True).count()
    if waiting >= settings.GATEWAY_MAX_QUEUED_PROMPTS:
        raise QueueFull(f"{waiting} texts wait to join the run (GATEWAY_MAX_QUEUED_PROMPTS); try again later.")
    SteeringNote.objects.create(run=run, text=text)
