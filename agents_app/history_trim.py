"""The session's history policy, applied when a conversation does not fit its model.

`truncate` drops the oldest messages, `summarize` replaces them by a summary of the same model, `error` does nothing.
Only the messages sent to the model are shortened; the stored history stays complete. The next response records the cut,
so that later legs start from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, UserPromptPart

from agents_app.context_room import ContextRoom
from agents_app.context_window import (
    CHARACTERS_PER_TOKEN,
    SUMMARY_INSTRUCTIONS,
    estimated_tokens,
    shorten,
    transcript,
)
from agents_app.conversation import Cut, answer_text, message_id_of, summary_request
from agents_app.engine import Leg
from agents_app.events import ContextSummarized, ContextTruncated
from agents_app.failures import PROVIDER_ERRORS, failure
from agents_app.ready_model import ServedModel
from agents_app.request_spend import RequestSpending
from agents_app.response_usage import usage_of
from agents_app.spans import RequestSpans
from core_app.jsontext import clean_text
from core_app.tracing import tracing_enabled
from inference_app.errors import BudgetSpent, MinuteBudgetSpent
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed

logger = structlog.get_logger("gateway.agents")

SUMMARY_TRIES = 3
"""Attempts to get a summary. Each halves the transcript, if it did not fit the model."""

MAX_SUMMARY_CHARACTERS = 16_000
"""A longer summary is cut: it is sent with every later request."""


@dataclass(frozen=True, slots=True)
class TrimmedHistory:
    """The shortened conversation. `cut` is None when none of its messages is stored."""

    messages: list[ModelMessage]
    cut: Cut | None


async def fit_history(
    leg: Leg, served: ServedModel, messages: Sequence[ModelMessage], room: ContextRoom | None
) -> TrimmedHistory | None:
    """Applies the policy once and emits its event. Returns None when nothing may be dropped. `room`: that of the model,
    None if it is unknown."""
    if leg.session.history_policy == "error":
        return None
    per_message = 0 if room is None else room.per_message
    limit = estimated_tokens(messages, per_message=per_message)
    if room is not None:
        limit = min(limit, room.tokens)
    # Half of it, so that a growing conversation is not cut again at the next response.
    short = shorten(messages, limit // 2, per_message=per_message)
    if short is None:
        return None
    summary = None
    if leg.session.history_policy == "summarize":
        summary = await _summary(leg, served, short.dropped, limit)
    tokens = estimated_tokens(short.dropped)
    if summary is None:
        await leg.emit(ContextTruncated(messages=len(short.dropped), tokens=tokens))
    else:
        await leg.emit(ContextSummarized(messages=len(short.dropped), tokens=tokens))
    kept = short.kept if summary is None else _with_summary(short.kept, short.lead, summary)
    return TrimmedHistory(kept, _cut_for(served.name, short.kept, short.kept_from, summary))


def _with_summary(kept: list[ModelMessage], lead: int, summary: str) -> list[ModelMessage]:
    return [*kept[:lead], summary_request(summary), *kept[lead:]]


def _cut_for(model: str, kept: Sequence[ModelMessage], first: ModelMessage, summary: str | None) -> Cut | None:
    start = next(index for index, message in enumerate(kept) if message is first)
    named = (message_id for message in kept[start:] if (message_id := message_id_of(message)))
    kept_from = next(named, None)
    return Cut(model, kept_from, summary) if kept_from else None


async def _summary(leg: Leg, served: ServedModel, dropped: Sequence[ModelMessage], tokens: int) -> str | None:
    """Asks the model for a summary of the dropped messages. Returns None when it gives none.

    Circuit, budgets, retries and usage apply as they do for any other request. `tokens` is the most that may be sent.
    """
    limit = max(tokens * CHARACTERS_PER_TOKEN // 2, 2_000)
    for _ in range(SUMMARY_TRIES):
        if served.circuit.cooldown_remaining() is not None:
            return None
        request = ModelRequest(
            parts=[UserPromptPart(content=transcript(dropped, limit))], instructions=SUMMARY_INSTRUCTIONS
        )
        try:
            return await _paid_summary(leg, served, request)
        except (BudgetSpent, MinuteBudgetSpent):
            return None
        except PROVIDER_ERRORS as error:
            logger.warning("summary_failed", model=served.name, characters=limit, exc_info=True)
            if failure(error, served.name).code != "context_length_exceeded":
                return None
            limit //= 2
    return None


async def _paid_summary(leg: Leg, served: ServedModel, request: ModelRequest) -> str | None:
    """Makes one request and commits its usage. Raises PROVIDER_ERRORS, BudgetSpent or MinuteBudgetSpent."""
    reservation = await served.budget.reserve([request])
    with RequestSpending(leg, served, [request], reservation) as spending:
        with RequestSpans(leg, served, [request]) as spans:
            served.observe(spending, spans)
            response = await _request_summary(served, request)
            usage = spending.note_usage(usage_of(response, served, [request]))
            if tracing_enabled():
                spans.record_response(response, usage)
        await leg.spend(usage)
        spending.note_committed()
    return clean_text(answer_text(response)).strip()[:MAX_SUMMARY_CHARACTERS] or None


async def _request_summary(served: ServedModel, request: ModelRequest) -> ModelResponse:
    async with model_request_stream(served.model, [request], model_settings=served.settings) as stream:
        async for _ in stream:
            pass
        response = stream.get()
    if response.finish_reason is None and served.says_end:
        raise AttemptFailed(Fault("disconnected", "stream_ended"))
    return response
