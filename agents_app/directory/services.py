"""Registration of agents by tenants and operators, their change and removal, and their heartbeats.

Tenants register models and addresses. Programs run as the gateway's user, so only the scope `platform` registers them,
and what it registered nobody else changes. Addresses of tenants are checked when they are called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from pydantic import ValidationError

from agents_app import registry
from agents_app.agent_changes import publish_agent_change
from agents_app.directory.entries import ENDPOINT_TYPES, PROGRAM_TYPES, configured_agents, definition_of
from agents_app.directory.selectors import AgentInfo, definition_get, info_of
from agents_app.models import ID_PATTERN, Agent, AgentState
from agents_app.programs.fields import ProgramFields
from core_app import clock, jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, Forbidden, NotFound, QuotaExceeded
from tenants_app.models import Tenant
from tenants_app.principal import AGENTS_WRITE, PLATFORM, Principal
from tenants_app.services import audit_record
from tools_app.registry import builtins_check

RESERVED = ("gateway",)
"""Ids that mean something else where an agent is named."""

MAX_CAPABILITIES = 64
MAX_CAPABILITY_CHARACTERS = 100
MAX_PROMPT_CHARACTERS = 100_000
MAX_TIMEOUT_SECONDS = 86_400.0
REPORTED = ("online", "busy", "offline")
"""Fields that an agent may set about itself."""

_ID = re.compile(rf"\A{ID_PATTERN}\Z")
_TEXTS = {"name": 200, "endpoint": 2000, "model": 200, "system_prompt": MAX_PROMPT_CHARACTERS}
PROGRAM_FIELDS = ("command", "args", "env", "pass_env", "memory_bytes", "max_running")


def agent_register(
    principal: Principal,
    *,
    id: str,  # the field's name on every wire
    name: str = "",
    type: str,
    capabilities: Sequence[str] = (),
    endpoint: str | None = None,
    model: str | None = None,
    system_prompt: str = "",
    tools: Sequence[str] = (),
    timeout: float | None = None,
    **program: Any,
) -> AgentInfo:
    """Registers an agent of the principal's tenant, or replaces it. `program` has the fields of programs (`command`,
    `args`, `env`, `pass_env`, `memory_bytes`, `max_running`).

    Raises BadRequest with the field, Forbidden for a program without the scope `platform`, Conflict for an id of the
    operator's agents, QuotaExceeded.
    """
    principal.require(AGENTS_WRITE)
    if type == "process" and endpoint and not program.get("command"):
        type = "http"  # a process behind an address is reached over HTTP
    values = {
        "name": name,
        "type": type,
        "capabilities": capabilities,
        "endpoint": endpoint,
        "model": model,
        "system_prompt": system_prompt,
        "tools": tools,
        "timeout": timeout,
        "entry": {key: value for key, value in program.items() if value is not None},
    }
    if not isinstance(id, str) or not _ID.match(id) or id in RESERVED:
        raise BadRequest("id must have 1 to 64 letters, digits, '_', '.' or '-', and not be 'gateway'.", field="id")
    with write_transaction():
        _lock_tenant(principal)
        _check_free(id)
        row = Agent.objects.filter(tenant_id=principal.tenant_id, public_id=id).first()
        if row is None:
            _check_limit(principal.tenant_id)
            row = Agent(tenant_id=principal.tenant_id, public_id=id)
        _check_owner(principal, row)
        return agent_save(row, values, actor=principal.actor, operator=principal.allows(PLATFORM))


def agent_update(principal: Principal, agent_id: str, **fields: Any) -> AgentInfo:
    """Changes the given fields of an agent of the principal's tenant; `enabled` False switches it off. Raises NotFound,
    Forbidden for an agent of the operator, and what `agent_register` raises."""
    principal.require(AGENTS_WRITE)
    with write_transaction():
        row = _own_row(principal, agent_id)
        _check_owner(principal, row)
        program = {key: fields.pop(key) for key in PROGRAM_FIELDS if key in fields}
        changed = {**fields, "entry": {**row.entry, **program}} if program else fields
        return agent_save(row, changed, actor=principal.actor, operator=principal.allows(PLATFORM))


def agent_unregister(principal: Principal, agent_id: str) -> None:
    """Removes an agent of the principal's tenant. Its sessions stay, and their next runs fail. Raises NotFound, and
    Forbidden for an agent of the operator."""
    principal.require(AGENTS_WRITE)
    with write_transaction():
        row = _own_row(principal, agent_id)
        _check_owner(principal, row)
        agent_remove(row, actor=principal.actor)


def agent_heartbeat(principal: Principal, agent_id: str, *, status: str | None = None) -> AgentInfo:
    """Records that an agent is alive, with what it says of itself: online (the default), busy or offline. Agents of the
    operator report with the scope `platform`. Raises NotFound, Forbidden, BadRequest."""
    principal.require(AGENTS_WRITE)
    if status is not None and status not in REPORTED:
        raise BadRequest(f"status must be one of {', '.join(REPORTED)}.", field="status")
    definition = definition_get(principal, agent_id)
    if definition.tenant_id is None and not principal.allows(PLATFORM):
        raise Forbidden(f"The agent {agent_id!r} is the operator's; reporting for it needs the scope '{PLATFORM}'.")
    with write_transaction():
        state = state_lock(definition.tenant_id, agent_id)
        state.heartbeat_at, state.reported = clock.now(), status or "online"
        info = info_of(definition, state, servable=registry.is_servable(definition, principal.tenant_id))
        state_announce(state, info)
        state.save()
    return info


def agent_save(row: Agent, values: Mapping[str, Any], *, actor: str, operator: bool) -> AgentInfo:
    """Checks and saves a row, with its audit entry and the notification. The caller has a write transaction; `operator`
    says whether somebody who operates the whole gateway saves it."""
    new = row.pk is None
    for name, value in _checked(values, row.tenant_id).items():
        setattr(row, name, value)
    _check_type(row, operator=operator)
    row.trusted, row.updated_at = operator, clock.now()
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Conflict(f"The agent {row.public_id!r} was registered a moment ago.", field="id") from None
    state = state_lock(row.tenant_id, row.public_id)
    # What was found of another address or program says nothing of this one.
    state.result, state.checked_at, state.due_at = "", None, clock.now()
    detail = {"type": row.type, "endpoint": row.endpoint, "enabled": row.enabled}
    action = "agent.register" if new else "agent.update"
    audit_record(actor=actor, action=action, target=row.public_id, tenant_id=row.tenant_id, detail=detail)
    definition = definition_of(row)
    info = info_of(definition, state, servable=registry.is_servable(definition, row.tenant_id))
    state.announced = info.status
    state.save()
    publish_agent_change(row.tenant_id, "registered", info)
    return info


def agent_remove(row: Agent, *, actor: str) -> None:
    """Removes a row, with its audit entry and the notification. The caller has a write transaction."""
    tenant_id, agent_id = row.tenant_id, row.public_id
    info = info_of(definition_of(row), None, servable=False)
    AgentState.objects.filter(_of(tenant_id), agent_id=agent_id).delete()
    row.delete()
    audit_record(actor=actor, action="agent.unregister", target=agent_id, tenant_id=tenant_id)
    publish_agent_change(tenant_id, "unregistered", info)


def state_lock(tenant_id: int | None, agent_id: str) -> AgentState:
    """Returns the agent's state, which it makes if need be, locked until the transaction ends."""
    rows = AgentState.objects.select_for_update()
    state = rows.filter(_of(tenant_id), agent_id=agent_id).first()
    if state is not None:
        return state
    try:
        with transaction.atomic():
            return AgentState.objects.create(tenant_id=tenant_id, agent_id=agent_id)
    except IntegrityError:
        return rows.get(_of(tenant_id), agent_id=agent_id)


def _of(tenant_id: int | None) -> Q:
    return Q(tenant__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)


def state_announce(state: AgentState, info: AgentInfo) -> None:
    """Notifies the listeners when the status is another than the last. The first that is known of an
    agent is no change."""
    told, state.announced = state.announced, info.status
    if told and told != info.status:
        publish_agent_change(state.tenant_id, "status", info)


def _own_row(principal: Principal, agent_id: str) -> Agent:
    row = Agent.objects.select_for_update().filter(tenant_id=principal.tenant_id, public_id=agent_id[:65]).first()
    if row is not None:
        return row
    if definition_get(principal, agent_id).source != "tenant":
        raise Forbidden(f"The agent {agent_id!r} is the operator's, in the configuration or the admin.")
    raise NotFound(f"There is no agent called {agent_id[:64]!r}.", field="agent")


def _lock_tenant(principal: Principal) -> None:
    """Serialises the registrations of a tenant, so that none passes the limit and no id is taken twice."""
    # Without its key: rows that refer to the tenant are inserted meanwhile, by transactions that this one may wait for.
    Tenant.objects.select_for_update(no_key=True).only("pk").get(pk=principal.tenant_id)


def _check_owner(principal: Principal, row: Agent) -> None:
    if row.trusted and not principal.allows(PLATFORM):
        raise Forbidden(f"The operator registered {row.public_id!r}; changing it needs the scope '{PLATFORM}'.")


def _check_free(agent_id: str) -> None:
    if agent_id in configured_agents() or Agent.objects.filter(tenant__isnull=True, public_id=agent_id).exists():
        raise Conflict(f"The id {agent_id!r} is that of an agent of the gateway's operator.", field="id")


def _check_limit(tenant_id: int) -> None:
    limit = settings.GATEWAY_MAX_AGENTS_PER_TENANT
    if 0 < limit <= Agent.objects.filter(tenant_id=tenant_id).count():
        raise QuotaExceeded(f"The tenant has {limit} agents (GATEWAY_MAX_AGENTS_PER_TENANT); remove some.")


def _check_type(row: Agent, *, operator: bool) -> None:
    """Checks that the type is one that may be registered, and has what it needs."""
    if row.type in ENDPOINT_TYPES and not row.endpoint:
        raise BadRequest(f"endpoint is required for agents of type {row.type!r}.", field="endpoint")
    if row.type == "model" or row.type in ENDPOINT_TYPES:
        if not operator and row.entry.get("command"):
            raise Forbidden(f"An agent with a command is a program; registering one needs the scope '{PLATFORM}'.")
        return
    if row.type not in PROGRAM_TYPES and not (operator and row.type in registry.engine_modules()):
        known = ", ".join(("model", *ENDPOINT_TYPES, *PROGRAM_TYPES))
        raise BadRequest(f"type must be one of {known}.", field="type")
    if not operator:
        raise Forbidden(f"Agents of type {row.type!r} run programs; registering one needs the scope '{PLATFORM}'.")
    if row.type in ("process", "acp") and not row.entry.get("command"):
        raise BadRequest(f"command is required for agents of type {row.type!r}.", field="command")


def _checked(values: Mapping[str, Any], tenant_id: int | None) -> dict[str, Any]:
    """Returns the given values in the form of the columns. Raises BadRequest with the field."""
    checks: dict[str, Callable[[Any], Any]] = {
        **{name: partial(_text, name, limit) for name, limit in _TEXTS.items()},
        "type": partial(_text, "type", 32),
        "capabilities": _capabilities,
        "tools": lambda value: list(builtins_check(_texts("tools", value), tenant_id)),
        "timeout": _timeout,
        "entry": _entry,
        "enabled": partial(_boolean, "enabled"),
    }
    if unknown := next((name for name in values if name not in checks), None):
        raise BadRequest(f"{unknown} cannot be set on an agent.", field=unknown)
    return {name: checks[name](value) for name, value in values.items()}


def _text(field: str, limit: int, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit:
        raise BadRequest(f"{field} must be text of at most {limit} characters.", field=field)
    return jsontext.clean_text(value)


def _texts(field: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise BadRequest(f"{field} must be a list of texts.", field=field)
    return list(value)


def _capabilities(value: Any) -> list[str]:
    given = list(dict.fromkeys(jsontext.clean_text(one) for one in _texts("capabilities", value or ())))
    if len(given) > MAX_CAPABILITIES or any(not 0 < len(one) <= MAX_CAPABILITY_CHARACTERS for one in given):
        raise BadRequest(
            f"capabilities must be at most {MAX_CAPABILITIES} texts of 1 to {MAX_CAPABILITY_CHARACTERS} characters.",
            field="capabilities",
        )
    return given


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_SECONDS:
        raise BadRequest(f"timeout must be a number of seconds up to {MAX_TIMEOUT_SECONDS:g}.", field="timeout")
    return float(value)


def _boolean(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{field} must be true or false.", field=field)
    return value


def _entry(value: Any) -> dict[str, Any]:
    """Checks the fields of programs in the form that the engines read."""
    given = {name: field for name, field in value.items() if field is not None}
    if unknown := next((name for name in given if name not in PROGRAM_FIELDS), None):
        raise BadRequest(f"{unknown} cannot be set on an agent.", field=unknown)
    try:
        ProgramFields.model_validate(given)
    except ValidationError as error:
        field = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
        raise BadRequest(f"{field} is not in the form of an agent's program.", field=field) from None
    if given.get("max_running") is not None and not (type(given["max_running"]) is int and given["max_running"] > 0):
        raise BadRequest("max_running must be a number above 0.", field="max_running")
    return dict(jsontext.clean(given))
