"""Effort and sampling in chat fields: what a model takes beside its reasoning, and how Anthropic's models are told.

Anthropic's newer models take an effort and think as they see fit; older ones take a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.profiles.anthropic import ANTHROPIC_THINKING_BUDGET_MAP, resolve_anthropic_effort
from pydantic_ai.profiles.openai import SAMPLING_PARAMS

from agents_app.provider_model.profiles import Profile

EFFORT = "openai_reasoning_effort"
"""The library's name of the setting for an effort that goes to the provider as it is."""


def anthropic_fields(profile: Profile, params: ModelRequestParameters) -> dict[str, Any]:
    """Returns `thinking` and `reasoning_effort` for Anthropic's wire."""
    thinking = params.thinking
    if thinking is None:
        return {}
    takes_effort, always = profile.get("anthropic_supports_effort", False), profile.get("thinking_always_enabled")
    if thinking is False:
        if always:
            return {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"} if takes_effort else {}
        if profile.get("anthropic_disables_thinking_with_between_tools", False):
            return {"thinking": {"type": "between_tools"}}
        return {"thinking": {"type": "disabled"}} if profile.get("thinking_enabled_by_default", False) else {}
    fields: dict[str, Any] = {}
    if profile.get("anthropic_supports_adaptive_thinking", False):
        fields["thinking"] = {"type": "adaptive"}
    else:
        fields["thinking"] = {"type": "enabled", "budget_tokens": ANTHROPIC_THINKING_BUDGET_MAP[thinking]}
    if takes_effort and isinstance(thinking, str):
        fields["reasoning_effort"] = resolve_anthropic_effort(
            thinking,
            supports_xhigh=profile.get("anthropic_supports_xhigh_effort", False),
            supports_max=profile.get("anthropic_supports_max_effort", True),
        )
    return fields


def refused_sampling(profile: Profile, settings: Mapping[str, Any]) -> frozenset[str]:
    """Returns the settings that OpenAI's reasoning models refuse while they reason."""
    if not profile.get("openai_supports_reasoning", False):
        return frozenset()
    efforts = profile.get("openai_reasoning_efforts")
    may_rest = "none" in efforts if efforts is not None else profile.get("openai_supports_reasoning_effort_none", False)
    return frozenset() if may_rest and not _is_reasoning(profile, settings) else frozenset(SAMPLING_PARAMS)


def _is_reasoning(profile: Profile, settings: Mapping[str, Any]) -> bool:
    effort = settings.get(EFFORT)
    return bool(profile.get("thinking_enabled_by_default", False)) if effort is None else effort != "none"


def is_reasoning(profile: Profile, settings: Mapping[str, Any], params: ModelRequestParameters) -> bool:
    """True if the model reasons in a request with these settings."""
    if settings.get(EFFORT) is None and params.thinking is not None:
        return params.thinking is not False or bool(profile.get("thinking_always_enabled", False))
    return _is_reasoning(profile, settings)
