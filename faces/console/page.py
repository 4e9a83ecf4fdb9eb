"""A page of the console as one value, and a visit to it.

A page is a module of `faces.console.pages` with a `PAGE`, a template and an ES module; `faces.console.registry` lists
it. Its `context` calls selectors with the visitor's principal and returns what the template shows before any script
has run. Live data comes to its script from the native API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise

from admin_app.access import Person
from tenants_app.principal import Principal


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a signed-in person, in the tenant that they have chosen."""

    request: HttpRequest
    person: Person

    @property
    def principal(self) -> Principal:
        """The person as services and selectors know them, with the scopes of their role."""
        return self.person.principal

    def allows(self, scopes: Sequence[str]) -> bool:
        """True when the person has one of the scopes, or none is needed."""
        return not scopes or any(self.principal.allows(scope) for scope in scopes)


PageContext = Callable[..., Mapping[str, Any]]
"""Takes the Visit and the parameters of the page's route. `data` in its result is handed to the page's script as JSON;
`title`, if there, takes the place of the page's own. Raises GatewayError, which becomes an error page."""


def no_context(visit: Visit) -> Mapping[str, Any]:
    """Returns nothing, for pages that their scripts fill."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """One page. `name` is also that of its URL, `console:<name>`."""

    name: str
    route: str
    """Below `/console/`, as Django's `path` takes it."""

    title: str | Promise
    template: str
    script: str = ""
    """An ES module in `static/console/pages`, such as `sessions.js`; it exports nothing and reads `data`."""

    style: str = ""
    """A style sheet in `static/console`, for what `console.css` does not have."""

    context: PageContext = no_context
    scopes: Sequence[str] = ()
    """Scopes of which a visitor needs one. Others do not see the page in the menu, and get 403 for its address."""

    menu: bool = True
    """False for pages that are reached from another page, which `parent` names; its menu entry is marked instead."""

    parent: str = ""
