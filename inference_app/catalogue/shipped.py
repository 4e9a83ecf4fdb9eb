"""The shipped defaults of every installation: providers, routing of model names, and the fallback chain.

An entry of the same name in the configuration file changes only the fields that it contains. The order matters: the
first provider with a key is the default when the configuration names none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VENDORS = {
    "gpt-": "openai/",
    "o1": "openai/",
    "o3": "openai/",
    "o4": "openai/",
    "claude": "anthropic/",
    "gemini": "google/",
    "deepseek": "deepseek/",
    "llama": "meta-llama/",
    "qwen": "qwen/",
    "codestral": "mistralai/",
    "mistral": "mistralai/",
}

PROVIDERS: Mapping[str, Mapping[str, Any]] = {
    "openai": {
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "also": ["openai-responses"],
        "default_model": "gpt-4o-mini",
    },
    "anthropic": {
        "base_url": "https://api.anthropic.com",
        "api_key_env": "ANTHROPIC_API_KEY",
        "wire": "anthropic",
        "default_model": "claude-3-5-haiku-latest",
    },
    "deepseek": {
        "base_url": "https://api.deepseek.com/v1",
        "api_key_env": "DEEPSEEK_API_KEY",
        "default_model": "deepseek-chat",
        "models": [
            {"id": "deepseek-chat", "capabilities": ["text", "tools", "json_object"]},
            {"id": "deepseek-reasoner", "capabilities": ["text", "tools", "json_object", "reasoning"]},
        ],
    },
    # Alibaba Cloud in China; its other regions have an address and keys of their own, so those need a `base_url`.
    "qwen": {
        "base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "api_key_env": "DASHSCOPE_API_KEY",
        "default_model": "qwen-plus",
        "models": ["qwen-plus", "qwen-max", "qwen-flash", "qwen3-coder-plus"],
    },
    "openrouter": {
        "base_url": "https://openrouter.ai/api/v1",
        "api_key_env": "OPENROUTER_API_KEY",
        "default_model": "openrouter/auto",
        "model_prefixes": _VENDORS,
    },
    "gemini": {
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
        "api_key_env": "GEMINI_API_KEY",
        "default_model": "gemini-2.0-flash",
    },
    "mistral": {
        "base_url": "https://api.mistral.ai/v1",
        "api_key_env": "MISTRAL_API_KEY",
        "default_model": "mistral-small-latest",
        # It sends usage with every stream unasked, and responds with 422 to fields that it does not know.
        "refuses": [
            "stream_options",
            "user",
            "store",
            "prompt_cache_key",
            "service_tier",
            "safety_identifier",
            "verbosity",
        ],
    },
    "groq": {
        "base_url": "https://api.groq.com/openai/v1",
        "api_key_env": "GROQ_API_KEY",
        "default_model": "llama-3.3-70b-versatile",
    },
    "xai": {"base_url": "https://api.x.ai/v1", "api_key_env": "XAI_API_KEY", "default_model": "grok-3-mini"},
    "together": {
        "base_url": "https://api.together.xyz/v1",
        "api_key_env": "TOGETHER_API_KEY",
        "default_model": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    },
    # Each customer of Azure has an address of their own, which the configuration file must set.
    "azure": {"base_url": "https://azure.invalid/openai/v1", "api_key_env": "AZURE_OPENAI_API_KEY"},
    "ollama": {
        "base_url": "http://127.0.0.1:11434/v1",
        "api_key": "none",
        "default_model": "llama3.2",
        "assumed": True,
    },
    "vllm": {"base_url": "http://127.0.0.1:8000/v1", "api_key": "none", "assumed": True},
    "lmstudio": {"base_url": "http://127.0.0.1:1234/v1", "api_key": "none", "assumed": True},
    "demo": {
        "wire": "demo",
        "api_key": "none",
        "default_model": "tour",
        "models": [
            {"id": "tour", "price": {"input": 0, "output": 0}},
            {"id": "echo", "price": {"input": 0, "output": 0}},
        ],
    },
}

MODEL_ROUTING: Mapping[str, tuple[str, ...]] = {
    "deepseek": ("deepseek",),
    "gpt-": ("openai", "openrouter"),
    "o1": ("openai", "openrouter"),
    "o3": ("openai", "openrouter"),
    "o4": ("openai", "openrouter"),
    "claude": ("anthropic", "openrouter"),
    "gemini": ("gemini", "openrouter"),
    "qwen": ("qwen", "ollama"),
    "codestral": ("ollama",),
    "llama": ("ollama",),
}

FALLBACK_CHAIN: tuple[str, ...] = ("deepseek", "openrouter", "ollama")
