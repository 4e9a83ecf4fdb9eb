"""Registry of engines, and the resolution of names of models and agents to engines.

Engines are imported when they are first needed, because their libraries are the slowest part of a start. A name that
cannot be served raises `Unprocessable` with the reason and the field.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import structlog
from django.conf import settings

from agents_app.directory.entries import AgentEntry, Definition, TenantRef, definition_find
from agents_app.engine import Attachment, Engine
from core_app.errors import Unprocessable
from inference_app.catalogue.access import candidates_allowed, substitution_allowed
from inference_app.catalogue.config import models_config
from inference_app.catalogue.resolution import Resolution, default_candidate, model_candidates, provider_of
from tenants_app.principal import Principal
from tools_app.mcp.selectors import servers_allowed
from tools_app.operator_rules import builtins_allowed

_MODULES = {
    "demo": "agents_app.demo",
    "model": "agents_app.model",
    "remote": "agents_app.remote",
    "http": "agents_app.http_agent",
    "process": "agents_app.programs.text_program",
    "claude-code": "agents_app.programs.claude_code",
    "openclaw": "agents_app.programs.openclaw",
    "acp": "agents_app.acp.engine",
}
_ATTACHMENT_ENGINES = ("demo", "model")
_loading = threading.Lock()

logger = structlog.get_logger("gateway.agents")


def engine_modules() -> dict[str, str]:
    """Returns engine modules by name: the gateway's own, and the operator's in GATEWAY_ENGINES (`name=module`)."""
    named = (entry.partition("=") for entry in settings.GATEWAY_ENGINES)
    return {name.strip(): module.strip() for name, _, module in named} | _MODULES


class RegisteredEngine(Engine, Protocol):
    """An engine with the names of built-in tools that its sessions always have."""

    builtin_tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The result of resolving a model name. `name` is stored in the session: as the client gave it, or the substitute's
    `provider:model`. `provider` and `model` belong to the first candidate; engines resolve `name` again in each leg."""

    engine: str
    name: str
    provider: str
    model: str


def engine_get(name: str) -> RegisteredEngine:
    """Returns the engine of this name. Raises Unprocessable when there is none."""
    modules = engine_modules()
    if name not in modules:
        raise Unprocessable(f"There is no engine called {name[:64]!r}.", field="agent")
    # Threads that import the same package at once may deadlock on its modules.
    with _loading:
        engine: RegisteredEngine = import_module(modules[name]).ENGINE
    return engine


def model_resolve(name: str, *, principal: Principal, substitutes: bool = True) -> ResolvedModel:
    """Resolves a model name for a tenant, to a substitute if the tenant and `substitutes` allow one. Raises
    Unprocessable with the field "model" when no candidate may be used."""
    config = models_config()
    resolution = model_candidates(config, name, substitution=substitutes and substitution_allowed(principal))
    candidates = candidates_allowed(principal.tenant_id, resolution, name)
    if not candidates:
        raise Unprocessable(_unservable_message(name, resolution), field="model")
    first = candidates[0]
    entry = config.providers[first.provider]
    if entry.wire == "demo" and entry.model(first.model) is None:
        raise Unprocessable(f"There is no demo model called {first.model[:64]!r}.", field="model")
    kept = first.name if resolution.substituted else name
    if resolution.substituted:
        logger.warning("model_substituted", asked=name[:200], candidate=first.name, tenant=principal.tenant_slug)
    return ResolvedModel("demo" if entry.wire == "demo" else "model", kept, first.provider, first.model)


def agent_resolve(agent_id: str, *, principal: Principal) -> ResolvedModel:
    """Resolves an agent of the principal's tenant to its model, or to the engine that its `type` names. Raises
    Unprocessable with the field "agent"."""
    entry = agent_get(agent_id, tenant=principal)
    if entry.type != "model" and entry.type in engine_modules():
        # The agent's own fields decide what it runs; a model that it names is one of them.
        return ResolvedModel(entry.type, f"{entry.type}:{agent_id}", entry.type, agent_id)
    if entry.type != "model":
        raise Unprocessable(
            f"The agent {agent_id!r} is of type {entry.type!r}, which cannot be run here.", field="agent"
        )
    try:
        # No substitutes, because whoever defined the agent chose the model.
        return model_resolve(entry.model or default_candidate(models_config()), principal=principal, substitutes=False)
    except Unprocessable as error:
        raise Unprocessable(f"The agent {agent_id!r} cannot be served. {error.message}", field="agent") from None


def agent_get(agent_id: str, *, tenant: TenantRef) -> AgentEntry:
    """Returns the tenant's agent of this id. Raises Unprocessable with the field "agent", also for a tool that the
    operator no longer allows to an agent of a tenant."""
    found = definition_find(tenant, agent_id)
    if found is None:
        raise Unprocessable(f"There is no agent called {agent_id[:64]!r}.", field="agent")
    gone = set() if found.trusted else set(found.entry.tools).difference(builtins_allowed())
    if gone and (gone := gone.difference(servers_allowed(tenant.tenant_id))):
        raise Unprocessable(f"The agent {agent_id!r} names the tool {min(gone)!r}, which is not here.", field="agent")
    return found.entry


def is_servable(definition: Definition, tenant_id: int | None) -> bool:
    """Returns True if the gateway can run the agent for the tenant, or for any where that is None, as far as the
    configuration says: its model has a provider with a key, or its engine is there."""
    if definition.entry.type != "model":
        return definition.entry.type in engine_modules()
    name = definition.entry.model or default_candidate(models_config())
    resolution = model_candidates(models_config(), name)
    return bool(resolution.candidates if tenant_id is None else candidates_allowed(tenant_id, resolution, name))


def default_model() -> str:
    """Returns the public name of the model for sessions that name neither a model nor an agent."""
    return default_candidate(models_config())


def attachments_check(resolved: ResolvedModel, attachments: Sequence[Attachment]) -> None:
    """Raises Unprocessable with the field "attachments" when the model is known not to accept one of their types."""
    entry = models_config().providers[resolved.provider].model(resolved.model)
    if entry is None or entry.capabilities is None:
        return
    refused = next((given for given in attachments if given.kind not in entry.capabilities), None)
    if refused is not None:
        raise Unprocessable(
            f"The model {resolved.name} takes no attachments of type {refused.kind!r}.", field="attachments"
        )


def external_check(engine: str, attachments: Sequence[Attachment]) -> None:
    """Raises Unprocessable with the field "attachments" for an engine whose agents take text only."""
    if attachments and engine not in _ATTACHMENT_ENGINES:
        raise Unprocessable(f"Agents of type {engine!r} take no attachments.", field="attachments")


def _unservable_message(name: str, resolution: Resolution) -> str:
    shown = name[:200]
    if resolution.keyless:
        providers = ", ".join(dict.fromkeys(resolution.keyless))
        return f"The model {shown!r} cannot be served: no key is configured for {providers}."
    if provider_of(models_config(), name) is not None:
        return f"The provider of {shown!r} cannot be used."
    return f"No provider is configured for the model {shown!r}."
