"""Guardrails: an operator's own checks of prompts, tool calls and answers. There are none by default.

GATEWAY_GUARDRAILS names classes (`package.module:Class`, comma separated), which are instantiated once, without
arguments. A method returns None to allow, or a sentence to refuse. A refused prompt raises Unprocessable. A refused
tool call is settled as rejected, with the sentence as its result. A refused answer ends the run with the error
`guardrail_refused`. Guardrails run in database threads, and their time counts towards the run's time limit. A guardrail
that raises an exception refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

logger = structlog.get_logger("gateway.guardrails")


@dataclass(frozen=True, slots=True)
class Subject:
    """The session to which the checked text belongs."""

    tenant_slug: str
    session_id: str
    model: str
    end_user: str | None = None


class Guardrail:
    """Base class of guardrails, which allows everything. Override what you need."""

    def before_prompt(self, subject: Subject, text: str) -> str | None:
        """Checks a prompt before it is accepted."""
        return None

    def before_tool(self, subject: Subject, name: str, args: Mapping[str, Any] | str) -> str | None:
        """Checks a tool call before it is executed or its approval is requested."""
        return None

    def after_answer(self, subject: Subject, content: str) -> str | None:
        """Checks an answer before the run ends with it. Deltas that were streamed cannot be revoked."""
        return None


class BannedWords(Guardrail):
    """Example guardrail, which refuses prompts and answers that contain a word of GATEWAY_BANNED_WORDS."""

    def before_prompt(self, subject: Subject, text: str) -> str | None:
        return self._refusal(text)

    def after_answer(self, subject: Subject, content: str) -> str | None:
        return self._refusal(content)

    def _refusal(self, text: str) -> str | None:
        folded = text.casefold()
        found = next((word for word in settings.GATEWAY_BANNED_WORDS if word.casefold() in folded), None)
        return None if found is None else "The text holds a word that the operator does not allow."


def prompt_refusal(subject: Subject, text: str) -> str | None:
    """Returns the reason to refuse a prompt, or None."""
    return _first_refusal(lambda rail: rail.before_prompt(subject, text))


def tool_refusal(subject: Subject, name: str, args: Mapping[str, Any] | str) -> str | None:
    """Returns the reason to refuse a tool call, or None."""
    return _first_refusal(lambda rail: rail.before_tool(subject, name, args))


def answer_refusal(subject: Subject, content: str) -> str | None:
    """Returns the reason to refuse an answer, or None."""
    return _first_refusal(lambda rail: rail.after_answer(subject, content))


def load_guardrails() -> tuple[Guardrail, ...]:
    """Returns the operator's guardrails, in order. Raises ImproperlyConfigured, which names the one that cannot be
    instantiated."""
    return _instantiate_all(tuple(settings.GATEWAY_GUARDRAILS))


@lru_cache(maxsize=4)
def _instantiate_all(paths: tuple[str, ...]) -> tuple[Guardrail, ...]:
    return tuple(_instantiate(path) for path in paths)


def _instantiate(path: str) -> Guardrail:
    module, _, name = path.partition(":")
    try:
        made = getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ImproperlyConfigured(f"GATEWAY_GUARDRAILS names {path!r}, which cannot be made: {error}") from None
    if not isinstance(made, Guardrail):
        raise ImproperlyConfigured(f"GATEWAY_GUARDRAILS names {path!r}, which is no Guardrail.")
    return made


def _first_refusal(check: Callable[[Guardrail], str | None]) -> str | None:
    for rail in load_guardrails():
        try:
            refusal = check(rail)
        except Exception:  # contains: bugs in an operator's code, which refuse
            logger.exception("guardrail_failed", guardrail=type(rail).__name__)
            refusal = "A check of the operator failed."
        if refusal is not None:
            return refusal
    return None
