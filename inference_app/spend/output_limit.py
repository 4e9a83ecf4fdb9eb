"""The output tokens that a request reserves in budgets: at most as many as its provider may produce.

A client's own limit counts. Without one the request reserves the model's configured maximum. Where that is not known it
reserves GATEWAY_BUDGET_OUTPUT_TOKENS, which is then sent to the provider as the limit, because a budget cannot hold
what has no bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from inference_app.catalogue.config import ModelEntry


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """The tokens to reserve for one completion. `sent`: the provider has to be told, because nothing else limits it."""

    tokens: int
    sent: bool = False


def output_limit(given: int | None, model: ModelEntry | None) -> OutputLimit:
    """Returns the limit of a request; `given` is the client's own."""
    if given is not None:
        return OutputLimit(given)
    if model is not None and model.max_output_tokens is not None:
        return OutputLimit(model.max_output_tokens)
    return OutputLimit(settings.GATEWAY_BUDGET_OUTPUT_TOKENS, sent=True)
