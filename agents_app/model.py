"""The `model` engine: the agent loop on the models of configured providers.

The session's model name is resolved again in each leg, so that a changed route or key applies from the next leg on. The
loop falls back to the candidates after the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from django.conf import settings
from pydantic_ai.settings import ModelSettings

from agents_app.budget import RunBudget
from agents_app.circuit import ProviderCircuit
from agents_app.engine import Failed, Leg, LegOutcome, SessionSpec
from agents_app.loop import AgentLoop
from agents_app.provider_model.effort import EFFORT
from agents_app.provider_model.model import ProviderModel
from agents_app.ready_model import ServedModel
from inference_app.catalogue.access import candidates_allowed
from inference_app.catalogue.config import ModelEntry, ModelsConfig, ProviderEntry, models_config
from inference_app.catalogue.resolution import Candidate, model_candidates
from inference_app.providers.quota import EXHAUSTED
from inference_app.spend.budgets import BUDGETS
from inference_app.spend.output_limit import OutputLimit, output_limit
from inference_app.spend.price_list import listed_window
from inference_app.spend.request_price import request_price

_SAME_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "parallel_tool_calls",
)


class ModelEngine:
    """Runs legs on the candidates of the session's model name."""

    name = "model"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        config, name = models_config(), leg.session.model
        mine = [
            candidate
            for candidate in candidates_allowed(leg.session.tenant_id, model_candidates(config, name), name)
            if config.providers[candidate.provider].wire != "demo"
        ]
        if not mine:
            return Failed("unprocessable", f"No provider is configured for the model {name[:200]}.")
        candidates = [candidate for candidate in mine if candidate.provider not in EXHAUSTED]
        if not candidates:
            return Failed(
                "upstream_error", f"The quota of every provider of {name[:200]} is exhausted.", retryable=True
            )
        served = [_ready_model(leg, candidate, config, others=len(candidates) > 1) for candidate in candidates]
        return await AgentLoop(leg, served).run()


def _ready_model(leg: Leg, candidate: Candidate, config: ModelsConfig, *, others: bool) -> ServedModel:
    session, tenant_id = leg.session, leg.session.tenant_id
    provider = config.providers[candidate.provider]
    entry = provider.model(candidate.model)
    limit = output_limit(session.max_tokens, entry)
    model = ProviderModel(candidate, provider, tenant_id, others=others)
    return ServedModel(
        name=candidate.name,
        model=model,
        cost_of=partial(request_price, candidate, provider=provider),
        settings=_settings(session, provider, limit),
        observe=model.observe,
        context_window=_context_window(candidate, entry),
        max_messages=model.limits.messages,
        simplify=model.simplify,
        json_schema=_takes_schema(model, entry),
        budget=RunBudget(tenant_id, leg.run.api_key_id, candidate, limit.tokens),
        circuit=ProviderCircuit(candidate, config.defaults.circuit_breaker, tenant_id),
        longest_wait=config.defaults.retry.max_delay_ms / 1000,
    )


def _context_window(candidate: Candidate, entry: ModelEntry | None) -> int | None:
    """Returns the window in tokens: the configured one, that of the public list, else the operator's default."""
    if entry is not None and entry.context_window is not None:
        return entry.context_window
    return listed_window(candidate) or settings.GATEWAY_DEFAULT_CONTEXT_TOKENS or None


def _takes_schema(model: ProviderModel, entry: ModelEntry | None) -> bool:
    if entry is not None and entry.capabilities is not None:
        return "json_schema" in entry.capabilities
    return bool(model.profile.get("supports_json_schema_output", False))


def _settings(session: SessionSpec, provider: ProviderEntry, limit: OutputLimit) -> ModelSettings:
    options: Mapping[str, Any] = session.options
    given: dict[str, Any] = {name: options[name] for name in _SAME_NAMES if name in options}
    if session.max_tokens is not None:
        given["max_tokens"] = session.max_tokens
    elif limit.sent and BUDGETS.has_rules(session.tenant_id):
        given["max_tokens"] = limit.tokens
    if "stop" in options:
        stop = options["stop"]
        given["stop_sequences"] = stop if isinstance(stop, list) else [stop]
    if effort := options.get("reasoning_effort"):
        if provider.wire == "anthropic":
            given["thinking"] = False if effort == "none" else effort
        else:
            given[EFFORT] = effort
    return cast(ModelSettings, given)


ENGINE = ModelEngine()
