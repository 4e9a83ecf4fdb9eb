"""The `model` engine: the agent loop on the models of configured providers.

The session's model name is resolved again in each leg, so that a changed route or key applies from the next leg on. The
loop falls back to the candidates after the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from pydantic_ai.settings import ModelSettings

from agents_app.budget import RunBudget
from agents_app.circuit import ProviderCircuit
from agents_app.engine import Failed, Leg, LegOutcome, SessionSpec
from agents_app.loop import AgentLoop
from agents_app.ready_model import CostOf, RetryRule, ServedModel
from inference_app.catalogue.access import candidates_allowed
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.resolution import model_candidates
from inference_app.providers.clients import BuiltModel, build_model
from inference_app.providers.quota import EXHAUSTED
from inference_app.spend.budgets import BUDGETS
from inference_app.spend.output_limit import OutputLimit, output_limit
from inference_app.spend.prices import response_cost

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
        served = [
            _ready_model(leg, await build_model(candidate, config.providers[candidate.provider]), config)
            for candidate in candidates
        ]
        return await AgentLoop(leg, served).run()


def _ready_model(leg: Leg, built: BuiltModel, config: ModelsConfig) -> ServedModel:
    session = leg.session
    policy = config.defaults.retry
    limit = output_limit(session.max_tokens, built.entry)
    return ServedModel(
        name=built.candidate.name,
        model=built.model,
        settings=_settings(session, built, limit),
        context_window=built.entry.context_window if built.entry else None,
        json_schema=built.json_schema,
        first_event_seconds=built.provider.timeout.first_byte,
        budget=RunBudget(session.tenant_id, leg.run.api_key_id, built.candidate, limit.tokens),
        circuit=ProviderCircuit(built.candidate, config.defaults.circuit_breaker, policy, session.tenant_id),
        retry=RetryRule(policy.max_retries, policy.base_delay_ms / 1000, policy.max_delay_ms / 1000),
        cost_of=_cost_of(built),
    )


def _cost_of(built: BuiltModel) -> CostOf:
    def cost_of(
        input_tokens: int, output_tokens: int, cached_tokens: int, written_tokens: int, listed: Decimal | None
    ) -> Decimal | None:
        return response_cost(
            built.provider,
            built.candidate.model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
            written_tokens=written_tokens,
            listed=listed,
        )

    return cost_of


def _settings(session: SessionSpec, built: BuiltModel, limit: OutputLimit) -> ModelSettings:
    options: Mapping[str, Any] = session.options
    settings: dict[str, Any] = {name: options[name] for name in _SAME_NAMES if name in options}
    if session.max_tokens is not None:
        settings["max_tokens"] = session.max_tokens
    elif limit.sent and BUDGETS.has_rules(session.tenant_id):
        settings["max_tokens"] = limit.tokens
    if "stop" in options:
        stop = options["stop"]
        settings["stop_sequences"] = stop if isinstance(stop, list) else [stop]
    if effort := options.get("reasoning_effort"):
        if built.provider.wire == "anthropic":
            settings["thinking"] = False if effort == "none" else effort
        else:
            settings["openai_reasoning_effort"] = effort
    return cast(ModelSettings, settings)


ENGINE = ModelEngine()
