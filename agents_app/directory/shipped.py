"""Agents that the gateway knows without any configuration: coding agents and browsers that may be installed here.

They are for the tenant `default` alone, because they run as the gateway's user: other tenants have those that the
operator names in the configuration. They get no key of the gateway, and are `offline` where the program is absent.
"""

from __future__ import annotations

from typing import Any

_CODE = ["code-generation", "code-review", "debugging", "refactoring", "documentation", "file-operations"]

SHIPPED: list[dict[str, Any]] = [
    {
        "id": "claude-code",
        "name": "Claude Code",
        "type": "claude-code",
        "command": "claude",
        "capabilities": _CODE,
    },
    {
        "id": "openclaw",
        "name": "OpenClaw",
        "type": "openclaw",
        "command": "openclaw",
        "capabilities": ["browser-automation", "web-scraping", "form-filling", "ui-testing"],
    },
    {"id": "codex", "name": "Codex", "type": "acp", "command": "codex-acp", "capabilities": _CODE},
    {
        "id": "gemini",
        "name": "Gemini CLI",
        "type": "acp",
        "command": "gemini",
        "args": ["--experimental-acp"],
        "capabilities": _CODE,
    },
    {
        "id": "opencode",
        "name": "opencode",
        "type": "acp",
        "command": "opencode",
        "args": ["acp"],
        "capabilities": _CODE,
    },
]
