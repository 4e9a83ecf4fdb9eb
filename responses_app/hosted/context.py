"""The context of a request, shortened as the request wants it: compacted above a threshold, or truncated to what the
model takes.

Tokens are estimated as `/v1/responses/input_tokens` does, which errs upwards. Turns are kept or dropped whole: a call
without its output, or the other way round, is refused by providers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core_app.errors import BadRequest
from inference_app.conversion import estimate_response_tokens
from responses_app.hosted.items import kind_of
from responses_app.hosted.plan import HostedPlan

MIN_ANSWER_SHARE = 4
MAX_ANSWER_TOKENS = 4096
"""Tokens that `truncation: auto` leaves to an answer without `max_output_tokens`: a quarter of the window, at most
these."""


class ContextTooLong(BadRequest):
    """The input does not fit into the model's window."""

    code = "context_length_exceeded"

    def __init__(self) -> None:
        super().__init__(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            field="input",
        )


def input_tokens(plan: HostedPlan, items: Sequence[Any]) -> int:
    """Returns the estimate of a request with these items."""
    return estimate_response_tokens(plan.fields, items)


def length_check(plan: HostedPlan, items: Sequence[Any]) -> None:
    """Raises ContextTooLong for a request that says `truncation: disabled` and does not fit."""
    if plan.wishes.truncation == "disabled" and plan.window is not None and input_tokens(plan, items) > plan.window:
        raise ContextTooLong


def turns_truncate(plan: HostedPlan, items: Sequence[Any]) -> list[Any]:
    """Returns the items that fit, without the oldest turns. What is said to the model as its instructions stays. Raises
    ContextTooLong if the newest turn does not fit alone."""
    kept = list(items)
    if plan.wishes.truncation != "auto" or plan.window is None:
        return kept
    room = plan.window - _answer_tokens(plan.fields.get("max_output_tokens"), plan.window)
    while input_tokens(plan, kept) > room:
        told, turns = _split(kept)
        starts = [number for number, item in enumerate(turns) if _is_users(item)]
        later = next((start for start in starts if start > 0), None)
        if later is None:
            raise ContextTooLong
        kept = [*told, *turns[later:]]
    return kept


def newest_turn(items: Sequence[Any]) -> int:
    """Returns where the newest turn begins: at the user's last message; 0 without one."""
    return next((number for number in range(len(items) - 1, -1, -1) if _is_users(items[number])), 0)


def _split(items: list[Any]) -> tuple[list[Any], list[Any]]:
    """Returns the leading messages of system and developer, and the rest."""
    at = 0
    while at < len(items) and kind_of(items[at]) == "message" and items[at].get("role") in ("system", "developer"):
        at += 1
    return items[:at], items[at:]


def _answer_tokens(wanted: Any, window: int) -> int:
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 < wanted < window:
        return wanted
    return min(MAX_ANSWER_TOKENS, window // MIN_ANSWER_SHARE)


def _is_users(item: Any) -> bool:
    return kind_of(item) == "message" and item.get("role") == "user"
