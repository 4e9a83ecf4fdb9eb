"""Tool names between a client, which may use namespaces or long names, and a wire that takes 64 plain characters.

The wire name of a namespaced tool is `<namespace>__<tool>`. A name that is too long, contains other characters or is
already used gets a hash of the original, so a tool has the same name in every request of a conversation. `origin`
returns the client's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_NAME = 64
"""Length of a function name that every chat provider accepts."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_HASH = 8
_HEAD = 16
_TAIL = MAX_NAME - _HEAD - _HASH - 2


@dataclass(frozen=True, slots=True)
class Origin:
    """The client's name of a tool. A `custom` tool takes free text instead of JSON arguments."""

    name: str
    namespace: str | None = None
    custom: bool = False

    @property
    def key(self) -> tuple[str | None, str]:
        return self.namespace, self.name


@dataclass(slots=True)
class ToolNames:
    """Mapping between client names and wire names of one request's tools."""

    _origins: dict[str, Origin] = field(default_factory=dict)
    _names: dict[tuple[str | None, str], str] = field(default_factory=dict)

    def add(self, origin: Origin) -> str:
        """Returns the wire name of a tool that the request declares."""
        if (known := self._names.get(origin.key)) is not None:
            return known
        name = _plain_name(origin)
        if name in self._origins:
            name = _hash_name(origin)
        self._origins[name] = origin
        self._names[origin.key] = name
        return name

    def wire_name(self, name: str, namespace: str | None = None) -> str:
        """Returns the wire name of a tool that is called in the conversation, even if it is no longer declared."""
        known = self._names.get((namespace, name))
        return known if known is not None else _plain_name(Origin(name, namespace))

    def origin(self, name: str) -> Origin:
        """Returns the client's name of a tool. Unknown names are returned unchanged, for the client to reject."""
        return self._origins.get(name) or Origin(name)


def has_plain_names(names: Iterable[str]) -> bool:
    """True if every wire takes all of the names as they are."""
    return all(map(_PLAIN.match, names))


def _plain_name(origin: Origin) -> str:
    full = origin.name if origin.namespace is None else f"{origin.namespace}__{origin.name}"
    return full if _PLAIN.match(full) else _hash_name(origin)


def _hash_name(origin: Origin) -> str:
    """Replaces the middle by a hash and keeps the end, which has the tool's own name that the model recognises."""
    full = origin.name if origin.namespace is None else f"{origin.namespace}__{origin.name}"
    digest = hashlib.sha256(f"{origin.namespace}\0{origin.name}".encode("utf-8", "replace")).hexdigest()[:_HASH]
    plain = _OTHER.sub("_", full)
    if len(plain) + _HASH + 1 <= MAX_NAME:
        return f"{plain}_{digest}"
    return f"{plain[:_HEAD]}_{digest}_{plain[-_TAIL:]}"
