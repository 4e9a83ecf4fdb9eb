"""Guardrails: an operator's own checks before a prompt, before a tool and after an answer; off by default.

GATEWAY_GUARDRAILS names classes (`package.module:Class`, comma separated) that are made once, without arguments.
Each method gives None to let pass, or a sentence that refuses: a prompt is then answered 422, a tool call is
settled as rejected with the sentence told to the model, an answer ends its run with the error
`guardrail_refused`. They run in database threads and may take their time, but not for ever: a run's time limit
counts. What raises refuses: a broken guardrail must not be an open gate.
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
    """What is being checked: whose session, and which."""

    tenant_slug: str
    session_id: str
    model: str
    end_user: str | None = None


class Guardrail:
    """The base; override what you need."""

    def before_prompt(self, subject: Subject, text: str) -> str | None:
        """Before a prompt is accepted."""
        return None

    def before_tool(self, subject: Subject, name: str, args: Mapping[str, Any] | str) -> str | None:
        """Before a tool is executed, or its approval asked for."""
        return None

    def after_answer(self, subject: Subject, content: str) -> str | None:
        """Before a run ends with its answer. What was streamed already cannot be taken back."""
        return None


class BannedWords(Guardrail):
    """The example: refuses prompts and answers with the words of GATEWAY_BANNED_WORDS."""

    def before_prompt(self, subject: Subject, text: str) -> str | None:
        return self._refusal(text)

    def after_answer(self, subject: Subject, content: str) -> str | None:
        return self._refusal(content)

    def _refusal(self, text: str) -> str | None:
        folded = text.casefold()
        found = next((word for word in settings.GATEWAY_BANNED_WORDS if word.casefold() in folded), None)
        return None if found is None else "The text holds a word that the operator does not allow."


def prompt_refusal(subject: Subject, text: str) -> str | None:
    """Why a prompt is refused, or None."""
    return _first_refusal(lambda rail: rail.before_prompt(subject, text))


def tool_refusal(subject: Subject, name: str, args: Mapping[str, Any] | str) -> str | None:
    """Why a tool call is refused, or None."""
    return _first_refusal(lambda rail: rail.before_tool(subject, name, args))


def answer_refusal(subject: Subject, content: str) -> str | None:
    """Why an answer is refused, or None."""
    return _first_refusal(lambda rail: rail.after_answer(subject, content))


def load_guardrails() -> tuple[Guardrail, ...]:
    """The operator's guardrails, in order. Raises ImproperlyConfigured, naming the one that cannot be had."""
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
        except Exception:  # contains: an operator's code; what raises refuses
            logger.exception("guardrail_failed", guardrail=type(rail).__name__)
            refusal = "A check of the operator failed."
        if refusal is not None:
            return refusal
    return None
