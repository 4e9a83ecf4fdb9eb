"""Costs, states and times of wire values on the console's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.template import Library
from django.utils.html import format_html
from django.utils.safestring import SafeString

from faces.console.words import state_words
from tenants_app.numbers import dollars

register = Library()


@register.simple_tag
def cost_text(amount: float, known: bool = True) -> str:
    """Formats dollars; `+ ?` marks responses without a known price."""
    return dollars(amount) if known else f"{dollars(amount)} + ?"


@register.simple_tag
def state_badge(state: str) -> SafeString:
    """Formats a state as a coloured word."""
    return format_html('<span class="state state-{}">{}</span>', state, state_words().get(state, state))


@register.simple_tag
def moment(iso: str | None) -> SafeString:
    """Formats an instant of the wire for readers without a script; scripts show its distance from now."""
    if not iso:
        return format_html("–")
    shown = f"{iso[:10]} {iso[11:19]}"
    return format_html('<time datetime="{}" data-relative title="{} UTC">{} UTC</time>', iso, shown, shown)


@register.filter
def field(values: Mapping[str, Any], name: str) -> Any:
    """Returns a value of a mapping by its name."""
    return values.get(name, "")
