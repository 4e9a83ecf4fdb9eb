"""Stateful module-level instances are compared with the registry, `core_app.lifecycle.PROCESS_WIDE`."""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from core_app.lifecycle import PROCESS_WIDE, process_wide, reset_process_wide
from edge_app.http.exchange import Router
from edge_app.rest.routers import GatewayRouter
from edge_app.rpc import ErrorTable
from edge_app.tokens import StreamTokens
from events_app.batches import Encoder
from events_app.types import Vocabulary
from gateway_project.configuration.checks import otel_missing
from gateway_project.http.django_handler import ThreadedHandler
from gateway_project.http.health import Readyz

ROOMS = [*sorted(path.name for path in settings.BASE_DIR.glob("*_app")), "faces", "gateway_project"]
OTEL = "gateway_project.observability.otel"
"""Needs packages that may not be installed."""

OIDC = "admin_app.oidc."
"""Needs a library whose models are there only with GATEWAY_OIDC_ISSUER."""

BUILT_ONCE = (Encoder, ErrorTable, GatewayRouter, Readyz, Router, StreamTokens, ThreadedHandler, Vocabulary)
"""Tables and applications: built when their module is imported, and never changed."""


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((settings.BASE_DIR / room).rglob("*.py")):
            parts = path.relative_to(settings.BASE_DIR).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if "migrations" not in parts and not (name == OTEL and otel_missing()) and not name.startswith(OIDC):
                yield name, path


def assigned_names(path: Path) -> Iterator[str]:
    """Yields the names that a module assigns at its top level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def holds_state(value: Any) -> bool:
    """Returns True for an instance of a class of the gateway whose attributes may change."""
    kind = type(value)
    if isinstance(value, (type, tuple, enum.Enum, *BUILT_ONCE)) or kind.__module__.split(".")[0] not in ROOMS:
        return False
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return False
    return bool(getattr(value, "__dict__", None) or any(getattr(base, "__slots__", ()) for base in kind.__mro__))


def stateful_instances() -> dict[str, object]:
    found = {}
    for module, path in modules():
        loaded = import_module(module)
        for name in assigned_names(path):
            if holds_state(value := getattr(loaded, name, None)):
                found[f"{module}.{name}"] = value
    return found


def test_every_stateful_instance_of_a_module_is_registered_and_spelled_in_capitals() -> None:
    found = stateful_instances()
    registered = {id(entry.instance) for entry in PROCESS_WIDE}
    assert {name for name, value in found.items() if id(value) not in registered} == set()
    assert [name for name in found if not name.rpartition(".")[2].isupper()] == []


def test_every_registered_instance_is_in_a_module() -> None:
    held = {id(value) for value in stateful_instances().values()}
    assert [entry.instance for entry in PROCESS_WIDE if id(entry.instance) not in held] == []


def test_one_call_resets_what_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core_app.lifecycle.PROCESS_WIDE", [])
    learned = process_wide([1, 2], reset=list.clear)
    kept = process_wide([3])
    reset_process_wide()
    assert (learned, kept) == ([], [3])
