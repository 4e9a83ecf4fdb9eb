"""The plan of a request that takes more than one call: its hosted tools, and what it wants of its context.

A provider that speaks the Responses API does all of that itself, unless the tools are the gateway's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app import database, jsontext
from core_app.errors import BadRequest
from inference_app.catalogue.config import models_config
from inference_app.conversion.writers.response_shape import response_shape
from inference_app.errors import ModelNotFound, NoProvider
from inference_app.relay import Envelope
from inference_app.relay.targets import TARGETS, Target
from inference_app.request_kinds import NATIVE
from responses_app.conversations import metadata_check
from responses_app.dialect import ResponsesDialect
from responses_app.hosted.servers import MAX_SERVERS, HostedServer, hosted_server, is_elsewhere
from tenants_app.principal import Principal

Json = dict[str, Any]

MIN_THRESHOLD = 1000
"""The least `compact_threshold`, as the API says."""

INCLUDABLE = frozenset(
    {
        "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
        "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
        "reasoning.encrypted_content", "message.output_text.logprobs",
    }
)  # fmt: skip

_OWN_FIELDS = ("context_management", "truncation", "max_tool_calls")
_MAY_HAVE_TOOLS = b'"mcp"'
_DEFAULT_SHARE = 0.8
"""Of the model's window, where `compact_threshold` is not given."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Wishes of a request for its context. `threshold` 0: at a share of the model's window."""

    threshold: int | None = None
    truncation: str | None = None
    max_calls: int | None = None

    @property
    def any(self) -> bool:
        """True if it says anything."""
        return self.threshold is not None or self.truncation is not None or self.max_calls is not None


@dataclass(frozen=True, slots=True)
class HostedPlan:
    """A request to be composed. `window` are the tokens of its model, None where they are not configured; `fields` are
    the request's own without `input`, as its response shows them; `others` are the tools that are not hosted."""

    servers: tuple[HostedServer, ...]
    wishes: Wishes
    window: int | None
    fields: Json
    others: tuple[Any, ...]

    @property
    def threshold(self) -> int | None:
        """The tokens of input from which the conversation is compacted."""
        if self.wishes.threshold == 0:
            return None if self.window is None else int(self.window * _DEFAULT_SHARE)
        return self.wishes.threshold


def fields_check(envelope: Envelope) -> Wishes:
    """Checks the fields that the gateway serves itself. Raises BadRequest that names one."""
    metadata_check(_decoded(envelope, "metadata"))
    include = _decoded(envelope, "include")
    if include is not None and not isinstance(include, list):
        raise BadRequest("'include' must be a list.", field="include")
    for number, name in enumerate(include or ()):
        if name not in INCLUDABLE:
            known = ", ".join(sorted(INCLUDABLE))
            raise BadRequest(f"'include[{number}]' is not supported. There are: {known}.", field=f"include[{number}]")
    key = envelope.value_of("prompt_cache_key")
    if not isinstance(key, str | None):
        raise BadRequest("'prompt_cache_key' must be a text.", field="prompt_cache_key")
    truncation = envelope.value_of("truncation")
    if truncation not in (None, "auto", "disabled"):
        raise BadRequest("'truncation' must be auto or disabled.", field="truncation")
    calls = envelope.value_of("max_tool_calls")
    if calls is not None and (not isinstance(calls, int) or isinstance(calls, bool) or calls < 1):
        raise BadRequest("'max_tool_calls' must be a whole number of at least 1.", field="max_tool_calls")
    return Wishes(_threshold(_decoded(envelope, "context_management")), truncation, calls)


async def plan_of(envelope: Envelope, principal: Principal, *, checked: bool = False) -> HostedPlan | None:
    """Returns the plan of a request, None for one that a single call answers. `checked`: what the caller may do was
    checked before. Raises BadRequest, Forbidden."""
    wishes = fields_check(envelope)
    if not wishes.any and not _may_have_servers(envelope):
        return None
    return await database.run(_plan, envelope, principal, wishes, checked=checked)


def _may_have_servers(envelope: Envelope) -> bool:
    raw = envelope.fields.get("tools")
    return raw is not None and _MAY_HAVE_TOOLS in bytes(memoryview(raw))


def _plan(envelope: Envelope, principal: Principal, wishes: Wishes, *, checked: bool) -> HostedPlan | None:
    tools = _decoded(envelope, "tools") if _may_have_servers(envelope) else None
    targets = _targets(envelope.model, principal)
    native = bool(targets) and all(target.wire == NATIVE["responses"] for target in targets)
    servers, others = _servers(tools, principal, native=native, checked=checked)
    if not servers and (native or not wishes.any):
        return None
    fields = jsontext.decode_untrusted(envelope.without("input").raw)
    window = _window(targets)
    if native:
        # The provider keeps these wishes; only the tools are the gateway's.
        wishes = Wishes(max_calls=wishes.max_calls)
    return HostedPlan(tuple(servers), wishes, window, fields, tuple(others))


def shown_fields(plan: HostedPlan) -> Json:
    """Returns the fields of the request that a response shows, and that the calls to the provider do not have."""
    shape = response_shape(plan.fields, "", 0)
    return {name: shape[name] for name in ("tools", "tool_choice", "truncation", "max_tool_calls")}


def left_out(plan: HostedPlan) -> dict[str, bytes | None]:
    """Returns the changes to a request that take out what the gateway does itself."""
    return {name: None for name in _OWN_FIELDS if name in plan.fields}


def _servers(tools: Any, principal: Principal, *, native: bool, checked: bool) -> tuple[list[HostedServer], list[Any]]:
    servers: dict[str, HostedServer] = {}
    others: list[Any] = []
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict) or tool.get("type") != "mcp" or (native and is_elsewhere(tool)):
            others.append(tool)
            continue
        path = f"tools[{number}]"
        server = hosted_server(tool, path, principal, checked=checked)
        if server.label in servers:
            raise BadRequest(f"There is another tool with this 'server_label': {server.label}.", field=path)
        servers[server.label] = server
    if len(servers) > MAX_SERVERS:
        raise BadRequest(f"A request names at most {MAX_SERVERS} MCP servers.", field="tools")
    return list(servers.values()), others


def _targets(model: str, principal: Principal) -> list[Target]:
    try:
        return TARGETS.targets_for(models_config(), model, "responses", ResponsesDialect().converters, principal)
    except (ModelNotFound, NoProvider):
        # The call itself says so.
        return []


def _window(targets: list[Target]) -> int | None:
    """Returns the tokens of the first target, which is asked first."""
    if not targets:
        return None
    candidate = targets[0].candidate
    entry = models_config().providers[candidate.provider].model(candidate.model)
    return None if entry is None else entry.context_window


def _threshold(given: Any) -> int | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(entry, Mapping) for entry in given):
        raise BadRequest("'context_management' must be a list of objects.", field="context_management")
    found: int | None = None
    for number, entry in enumerate(given):
        path = f"context_management[{number}]"
        if entry.get("type") != "compaction":
            raise BadRequest(f"'{path}.type' must be compaction.", field=f"{path}.type")
        wanted = entry.get("compact_threshold")
        if wanted is None:
            found = 0
        elif not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < MIN_THRESHOLD:
            raise BadRequest(
                f"'{path}.compact_threshold' must be a whole number of at least {MIN_THRESHOLD}.",
                field=f"{path}.compact_threshold",
            )
        else:
            found = wanted
    return found


def _decoded(envelope: Envelope, name: str) -> Any:
    raw = envelope.fields.get(name)
    return None if raw is None else jsontext.decode_untrusted(bytes(memoryview(raw)), field=name)
