"""References of the section `agents` to types, models and tools that are not here."""

from __future__ import annotations

from collections.abc import Iterator

from agents_app import registry
from agents_app.directory.entries import AGENTS, AgentEntry
from core_app.suggestion import suggestion
from inference_app.catalogue.config import models_config
from inference_app.catalogue.references import is_known_model, missing_model
from tools_app.operator_rules import builtins_allowed


def dangling() -> Iterator[str]:
    """Yields a sentence for each entry that cannot be served, whoever calls it. Entries that are switched off count as
    absent."""
    for entry in AGENTS.get():
        if entry.enabled:
            yield from (f"agents.{entry.id} {fault}" for fault in _faults(entry))


def _faults(entry: AgentEntry) -> Iterator[str]:
    types = ("model", *registry.engine_modules())
    if entry.type not in types:
        known = ", ".join(sorted(set(types)))
        yield f"has the type {entry.type!r}, which is not here.{suggestion(entry.type, types)} There are: {known}."
    config = models_config()
    if entry.type == "model" and entry.model and not is_known_model(config, entry.model):
        yield f"names the model {entry.model!r}, {missing_model(config, entry.model)}"
    allowed = builtins_allowed()
    for tool in entry.tools:
        if tool not in allowed:
            there = ", ".join(allowed) or "none"
            yield f"names the tool {tool!r}, which is not here.{suggestion(tool, allowed)} There are: {there}."
