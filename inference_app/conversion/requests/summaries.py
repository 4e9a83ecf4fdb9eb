"""Summaries in place of conversations: blocks of the type `compaction`, which Anthropic's clients send back.

Such a block stands for everything before it. Its text is readable, so a model of any provider is shown it as a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inference_app.conversion.validation import Json

KIND = "compaction"
HEADING = "Summary of the conversation before this point:\n\n"


def show_summary(messages: Sequence[Any], is_shown: Callable[[Json], bool] = lambda block: True) -> Sequence[Any]:
    """Returns the conversation from its last summary on, which becomes a message of the user. The same value if there
    is no summary, or if `is_shown` says of it that its provider reads it itself. A block without a text counts as none:
    that compaction failed."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            continue
        for place in range(len(content) - 1, -1, -1):
            block = content[place]
            if _is_summary(block):
                if not is_shown(block):
                    return messages
                told = {"role": "user", "content": HEADING + block["content"]}
                rest = content[place + 1 :]
                return [told, *([{**message, "content": rest}] if rest else []), *messages[at + 1 :]]
    return messages


def _is_summary(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") != KIND:
        return False
    return isinstance(block.get("content"), str) and bool(block["content"])
