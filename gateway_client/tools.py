"""Tools as Python functions: the schema comes from the signature, the gateway asks, and the function runs here.

Parameters are annotated with types that msgspec knows (`str`, `int`, `list[str]`, `Literal`, enums, dataclasses …);
`Annotated[str, Meta(description="…")]` describes one. Arguments are checked and converted before the function is
called. The first paragraph of the docstring is the description.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from gateway_client.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Tool:
    """A function with its registration. `requires_approval`, `timeout_ms` and `hint` are the gateway's options."""

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]
    arguments_type: type[msgspec.Struct]
    requires_approval: bool = False
    timeout_ms: int | None = None
    hint: str | None = None

    def registration(self) -> dict[str, Any]:
        """Returns the body of the registration."""
        body: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "requiresApproval": self.requires_approval,
        }
        optional = {"timeoutMs": self.timeout_ms, "hint": self.hint}
        return body | {name: value for name, value in optional.items() if value is not None}

    async def call(self, args: Mapping[str, Any]) -> Any:
        """Calls the function with checked arguments; one that is not a coroutine function runs in a thread."""
        checked = msgspec.convert(dict(args), self.arguments_type)
        named = {name: getattr(checked, name) for name in self.arguments_type.__struct_fields__}
        return msgspec.to_builtins(await call_any(self.function, **named))


def tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    requires_approval: bool = False,
    timeout_ms: int | None = None,
    hint: str | None = None,
) -> Tool:
    """Makes a tool of a function. Raises GatewayError for a parameter without a usable annotation."""
    called = name or function.__name__
    arguments_type = _arguments_type(called, function)
    description = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    return Tool(
        called,
        description,
        _schema(called, arguments_type),
        function,
        arguments_type,
        requires_approval,
        timeout_ms,
        hint,
    )


def tools_by_name(tools: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """Returns the tools by name, with bare functions made into tools."""
    made = [each if isinstance(each, Tool) else tool(each) for each in tools]
    return {each.name: each for each in made}


async def call_any(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Calls a callback: a coroutine function on the loop, any other in a thread, so that it may block."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **named)
    result = await asyncio.to_thread(function, *args, **named)
    return await result if inspect.isawaitable(result) else result


def _arguments_type(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise GatewayError(f"Tool {name}: parameter '{parameter.name}' has to have a name in a call.")
        if parameter.name not in hints:
            raise GatewayError(f"Tool {name}: parameter '{parameter.name}' needs an annotation.")
        default = [] if parameter.default is parameter.empty else [_default(parameter.default)]
        fields.append((parameter.name, hints[parameter.name], *default))
    return msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _default(value: object) -> object:
    return msgspec.field(default_factory=lambda: value) if isinstance(value, (list, dict, set)) else value


def _schema(name: str, arguments_type: type[msgspec.Struct]) -> dict[str, Any]:
    try:
        (root,), definitions = msgspec.json.schema_components([arguments_type], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise GatewayError(f"Tool {name}: {error}") from error
    schema: dict[str, Any] = definitions.pop(root["$ref"].rpartition("/")[2])
    schema.pop("title", None)
    return schema | ({"$defs": definitions} if definitions else {})
