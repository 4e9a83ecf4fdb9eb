"""Names of MCP tools as model providers accept them.

MCP allows dots, slashes and 128 characters; providers take 64 of `[A-Za-z0-9_-]`. A name that does not fit is written
with underscores, shortened, and ends in a digest of the original. The result depends on the original alone, never on
the tools beside it: a call that waits for an approval must not become another tool's when the list changes.
"""

from __future__ import annotations

import hashlib
import re

PREFIX = "mcp__"
MAX_CHARACTERS = 64
MAX_SERVER_CHARACTERS = 40
"""Leaves room for a part of the tool's name and the digest."""

SERVER_NAME = re.compile(r"\A[A-Za-z0-9]+([_-][A-Za-z0-9]+)*\Z")
"""Without a double underscore, which ends the server's name in a tool's."""

_DIGEST_CHARACTERS = 8
_ACCEPTED = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def model_name(server: str, tool: str) -> str:
    """Returns the name under which the model calls the tool: `mcp__<server>__<tool>`, if that is accepted."""
    start = f"{PREFIX}{server}__"
    if tool and _ACCEPTED.match(start + tool):
        return start + tool
    digest = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    room = MAX_CHARACTERS - len(start) - 1 - _DIGEST_CHARACTERS
    plain = _OTHER.sub("_", tool).strip("_")[: max(0, room)]
    return f"{start}{plain}_{digest}" if plain else f"{start}{digest}"


def server_of(name: str) -> str:
    """Returns the name of the server in a tool's name."""
    return name.removeprefix(PREFIX).partition("__")[0]
