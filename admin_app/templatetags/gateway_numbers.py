"""Template tags for numbers, costs, states and foreign texts on the admin's pages."""

from __future__ import annotations

from typing import Any

from django.template import Library
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from core_app.visible_text import visible_parts
from tenants_app.numbers import dollars

register = Library()

PLAIN, MARKED = "{}", '<mark title="an invisible character">{}</mark>'


@register.filter
def group_digits(number: int) -> str:
    """Formats 1234567 as 1,234,567."""
    return f"{number:,}"


@register.simple_tag
def cost(row: Any) -> SafeString:
    """Formats the cost of an object with `cost_usd` and `cost_known`; a `?` marks responses without a known price."""
    amount = dollars(float(row.cost_usd))
    if row.cost_known:
        return format_html("{}", amount)
    return format_html('<span title="some of it has no known price">{} + ?</span>', amount)


@register.simple_tag
def badge(state: str) -> SafeString:
    """Formats a state as a coloured word."""
    return format_html('<span class="state state-{}">{}</span>', state, state.replace("_", " "))


@register.filter
def visible(text: str | None) -> SafeString:
    """Escapes a text of somebody else for HTML, with its invisible characters as marked JSON escapes."""
    parts = ((MARKED if hidden else PLAIN, part) for part, hidden in visible_parts(text or ""))
    return format_html_join("", "{}", ((format_html(shape, part),) for shape, part in parts))
