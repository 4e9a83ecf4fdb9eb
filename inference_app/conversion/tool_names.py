"""Tools' names between a client, which may group them or make them longer, and a wire that takes 64 plain characters.

A tool of a namespace is called `<namespace>__<tool>`. What would be too long, holds other characters or is taken
already gets a part of its hash, so the same tool has the same name in every request of a conversation.
`origin` leads back.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

MAX_NAME = 64
"""Characters that every chat provider takes in a function's name."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_HASH = 8
_HEAD = 16
_TAIL = MAX_NAME - _HEAD - _HASH - 2


@dataclass(frozen=True, slots=True)
class Origin:
    """What a client calls a tool; `custom` takes free text instead of arguments."""

    name: str
    namespace: str | None = None
    custom: bool = False

    @property
    def key(self) -> tuple[str | None, str]:
        return self.namespace, self.name


@dataclass(slots=True)
class ToolNames:
    """The names of one request's tools, both ways."""

    _origins: dict[str, Origin] = field(default_factory=dict)
    _names: dict[tuple[str | None, str], str] = field(default_factory=dict)

    def add(self, origin: Origin) -> str:
        """The wire's name of a tool that the request declares."""
        if (known := self._names.get(origin.key)) is not None:
            return known
        name = _plain_name(origin)
        if name in self._origins:
            name = _hash_name(origin)
        self._origins[name] = origin
        self._names[origin.key] = name
        return name

    def wire_name(self, name: str, namespace: str | None = None) -> str:
        """The wire's name of a tool that is called in the conversation, declared any longer or not."""
        known = self._names.get((namespace, name))
        return known if known is not None else _plain_name(Origin(name, namespace))

    def origin(self, name: str) -> Origin:
        """What the client calls it; a name that no tool has is handed on for the client to refuse."""
        return self._origins.get(name) or Origin(name)


def _plain_name(origin: Origin) -> str:
    full = origin.name if origin.namespace is None else f"{origin.namespace}__{origin.name}"
    return full if _PLAIN.match(full) else _hash_name(origin)


def _hash_name(origin: Origin) -> str:
    """What is cut out is the middle: the model goes by the tool's own name, which stands at the end."""
    full = origin.name if origin.namespace is None else f"{origin.namespace}__{origin.name}"
    digest = hashlib.sha256(f"{origin.namespace}\0{origin.name}".encode("utf-8", "replace")).hexdigest()[:_HASH]
    plain = _OTHER.sub("_", full)
    if len(plain) + _HASH + 1 <= MAX_NAME:
        return f"{plain}_{digest}"
    return f"{plain[:_HEAD]}_{digest}_{plain[-_TAIL:]}"
