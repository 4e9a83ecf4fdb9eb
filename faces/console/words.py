"""States as people read them, in the language of the page."""

from __future__ import annotations

from django.utils.translation import gettext as _


def state_words() -> dict[str, str]:
    """Returns the states of sessions in words."""
    return {
        "idle": _("idle"),
        "working": _("working"),
        "waiting_approval": _("waits for an approval"),
        "waiting_input": _("waits for an answer"),
        "waiting_tool": _("waits for a tool"),
        "closed": _("closed"),
    }
