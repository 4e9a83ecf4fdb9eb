"""Profiles of models: what the agent library knows about a model of a provider, without the vendor's SDK.

The library keeps its knowledge of providers in modules that import the SDKs; what concerns the agent loop is repeated
here. The knowledge of model families is the library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic_ai.profiles import DEFAULT_PROFILE, ModelProfile, merge_profile
from pydantic_ai.profiles._family import vendor_family_model_profile
from pydantic_ai.profiles._special_tokens import special_token_route_profile
from pydantic_ai.profiles.anthropic import AnthropicModelProfile, anthropic_model_profile
from pydantic_ai.profiles.cohere import cohere_model_profile
from pydantic_ai.profiles.deepseek import deepseek_model_profile
from pydantic_ai.profiles.google import google_model_profile
from pydantic_ai.profiles.grok import grok_model_profile
from pydantic_ai.profiles.harmony import harmony_model_profile
from pydantic_ai.profiles.meta import meta_model_profile
from pydantic_ai.profiles.mistral import mistral_model_profile
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer, OpenAIModelProfile, openai_model_profile
from pydantic_ai.profiles.qwen import qwen_model_profile

from agents_app.provider_model.schemas import AnthropicSchema
from inference_app.catalogue.config import Wire
from inference_app.catalogue.resolution import Candidate

MAX_REMEMBERED = 256
"""Profiles that are kept: users may send any name of a model."""

Profile = Mapping[str, Any]
Family = Callable[[str], ModelProfile | None]

_OPENAI_SCHEMA = OpenAIModelProfile(json_schema_transformer=OpenAIJsonSchemaTransformer)
_OLLAMA: Mapping[str, Family] = {
    "llama": meta_model_profile,
    "gemma": google_model_profile,
    "qwen": qwen_model_profile,
    "qwq": qwen_model_profile,
    "deepseek": deepseek_model_profile,
    "mistral": mistral_model_profile,
    "command": cohere_model_profile,
    "gpt-oss": harmony_model_profile,
}
_VLLM: Mapping[str, Family] = {**_OLLAMA, "c4ai-command": cohere_model_profile}
_AZURE: Mapping[str, Family] = {
    "llama": meta_model_profile,
    "meta-": meta_model_profile,
    "deepseek": deepseek_model_profile,
    "mistral": mistral_model_profile,
    "ministral": mistral_model_profile,
    "magistral": mistral_model_profile,
    "cohere-": cohere_model_profile,
    "grok": grok_model_profile,
}


@lru_cache(maxsize=MAX_REMEMBERED)
def profile_of(candidate: Candidate, wire: Wire) -> Profile:
    """Returns the profile of a candidate that is asked on the wire."""
    if wire == "anthropic":
        found = merge_profile(
            AnthropicModelProfile(json_schema_transformer=AnthropicSchema), anthropic_model_profile(candidate.model)
        )
    elif wire == "openai-responses":
        found = _compatible(candidate.model)
    else:
        found = _PROVIDERS.get(candidate.provider, _compatible)(candidate.model)
    # No tool of a vendor's own is ever offered.
    return cast(Profile, merge_profile(DEFAULT_PROFILE, found, ModelProfile(supported_native_tools=frozenset())))


def _compatible(model: str) -> ModelProfile:
    family = vendor_family_model_profile(model)
    if family is None:
        family = openai_model_profile(model)
    return merge_profile(_OPENAI_SCHEMA, family, special_token_route_profile("openai-compatible", model))


def _deepseek(model: str) -> ModelProfile:
    thinks = model == "deepseek-flash" or model.startswith("deepseek-v4-")
    return merge_profile(
        _OPENAI_SCHEMA,
        deepseek_model_profile(model),
        OpenAIModelProfile(
            supports_json_object_output=True,
            openai_chat_thinking_field="reasoning_content",
            openai_chat_send_back_thinking_parts="field",
            openai_chat_thinking_requires_field_on_tool_calls=True,
            thinking_enabled_by_default=thinks or model == "deepseek-reasoner",
        ),
    )


def _openrouter(model: str) -> ModelProfile:
    vendor, _, name = model.removeprefix("~").partition("/")
    family = vendor_family_model_profile(f"{vendor}/{name.partition(':')[0]}") if name else None
    return merge_profile(
        _OPENAI_SCHEMA,
        family,
        OpenAIModelProfile(
            supports_thinking=True,
            openai_chat_thinking_field="reasoning",
            openai_chat_send_back_thinking_parts="field",
            openai_chat_supports_file_urls=True,
        ),
    )


def _ollama(model: str) -> ModelProfile:
    return merge_profile(
        _OPENAI_SCHEMA,
        _by_prefix(_OLLAMA, model.lower()),
        OpenAIModelProfile(
            openai_chat_thinking_field="reasoning",
            openai_supports_strict_tool_definition=False,
            supports_json_schema_output=True,
            supports_json_object_output=True,
        ),
        special_token_route_profile("ollama", model.lower()),
    )


def _vllm(model: str) -> ModelProfile:
    name = model.lower().rpartition("/")[2]
    return merge_profile(
        _OPENAI_SCHEMA,
        _by_prefix(_VLLM, name),
        OpenAIModelProfile(
            openai_chat_supports_document_input=False,
            openai_chat_supports_multiple_system_messages=False,
            supports_tool_return_schema=False,
            supports_json_schema_output=True,
            supports_json_object_output=True,
            native_output_requires_schema_in_instructions=True,
        ),
        special_token_route_profile("vllm", name),
    )


def _together(model: str) -> ModelProfile:
    return merge_profile(
        _OPENAI_SCHEMA, vendor_family_model_profile(model), special_token_route_profile("together", model)
    )


def _azure(model: str) -> ModelProfile:
    name = model.lower()
    family = _by_prefix(_AZURE, name)
    return merge_profile(
        _OPENAI_SCHEMA,
        openai_model_profile(name) if family is None else family,
        OpenAIModelProfile(openai_chat_supports_document_input=False),
        special_token_route_profile("azure", name),
    )


def _by_prefix(families: Mapping[str, Family], model: str) -> ModelProfile | None:
    found = next((prefix for prefix in families if model.startswith(prefix)), None)
    if found is None:
        return None
    return families[found](model.removeprefix(found) if found.endswith("-") else model)


_PROVIDERS: Mapping[str, Callable[[str], ModelProfile]] = {
    "openai": lambda model: merge_profile(_OPENAI_SCHEMA, openai_model_profile(model)),
    "deepseek": _deepseek,
    "openrouter": _openrouter,
    "ollama": _ollama,
    "vllm": _vllm,
    "together": _together,
    "azure": _azure,
}
