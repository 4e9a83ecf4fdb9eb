"""Usage and cost of one model response, as the provider reports them, else estimated.

Providers report usage with the last chunk, or not at all. Without a report the usage is estimated from the length,
because a ledger of zeros would let a tenant spend without limit. Counts are bounded, because a provider may report any
number.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_ai.messages import ModelMessage, ModelResponse

from agents_app.context_window import estimated_tokens
from agents_app.engine import Usage
from agents_app.ready_model import ServedModel
from inference_app.spend.usage import Usage as Tokens
from tenants_app.numbers import bounded_tokens, bounded_usd


def usage_of(response: ModelResponse, served: ServedModel, asked: Sequence[ModelMessage]) -> Usage:
    """Returns the usage of the response to the messages `asked`."""
    reported = response.usage
    input_tokens, output_tokens = reported.input_tokens, reported.output_tokens
    estimated = not input_tokens and not output_tokens
    if estimated:
        input_tokens, output_tokens = estimated_tokens(asked) or 1, estimated_tokens([response])
    input_tokens, output_tokens = bounded_tokens(input_tokens), bounded_tokens(output_tokens)
    cached = min(max(0, reported.cache_read_tokens), input_tokens)
    written = min(max(0, reported.cache_write_tokens), input_tokens - cached)
    reasoning = reported.details.get("reasoning_tokens", 0)
    return Usage(
        model=served.name,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        reasoning_tokens=bounded_tokens(reasoning) if isinstance(reasoning, int) else 0,
        cost_usd=bounded_usd(served.cost_of(Tokens(input_tokens, output_tokens, cached, written=written))),
        estimated=estimated,
    )
