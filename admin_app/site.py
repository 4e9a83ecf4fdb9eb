"""The operator's admin site: front page, navigation, and an audit entry for every sign-in.

Rooms register their models on `SITE`, and add their part of the front page with `panel_add`, pages of their own with
`page_add` and groups of the navigation with `section_add`. `gateway_project.http.own_pages` serves the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from admin_app.access import actor_of, has_access, may, user_of
from admin_app.sign_in import SignInForm, oidc_name
from admin_app.sign_in_throttle import browser_mark
from admin_app.sign_out import sign_out_person
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from tenants_app.principal import OPERATOR
from tenants_app.services import audit_record


@dataclass(frozen=True, slots=True)
class Figure:
    """A number on the front page and the page it links to. The tone `alarm` marks what needs attention."""

    label: str
    value: str
    url: str | None = None
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A short table on the front page. Each row has its cells and the address that the first cell links to."""

    title: str
    url: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page without a model: its route below the admin's, its name, and its key for `Section.entries`."""

    route: str
    name: str
    key: str
    view: Callable[[HttpRequest, dict[str, Any]], HttpResponse]


@dataclass(frozen=True, slots=True)
class Section:
    """A group of the navigation. `rank` orders the groups; registered models that no group lists come last.

    `entries` maps class names of models and keys of pages to a label, or to `None` for the model's or page's own name.
    """

    name: str
    rank: int
    entries: Mapping[str, str | None]


Panel = Callable[[HttpRequest], Sequence[Figure | Table]]


class GatewayAdminSite(AdminSite):
    """Django's admin site under the gateway's name, for the gateway's operators and for tenants' staff."""

    site_header = site_title = "Agent Gateway"
    site_url = None
    index_title = "Overview"
    login_form = SignInForm
    index_template = "admin/admin_app/overview.html"
    login_template = "admin/admin_app/login.html"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self._panels: list[Panel] = []
        self._pages: list[Page] = []
        self._sections: list[Section] = []

    def panel_add(self, panel: Panel) -> None:
        """Adds figures and tables to the front page. Rooms register bottom up; the front page shows the last first."""
        self._panels.append(panel)

    def page_add(self, page: Page) -> None:
        """Adds a page to the navigation, for people with the scope `operator`."""
        self._pages.append(page)

    def section_add(self, section: Section) -> None:
        """Adds a group to the navigation."""
        self._sections.append(section)

    def has_permission(self, request: HttpRequest) -> bool:
        return has_access(request)

    def get_urls(self) -> list[Any]:
        own = [path(f"{page.route}/", self.admin_view(self._page_view(page)), name=page.route) for page in self._pages]
        return [*own, *super().get_urls()]

    def _page_view(self, page: Page) -> Callable[[HttpRequest], HttpResponse]:
        return lambda request: page.view(request, self.each_context(request))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        items = [item for panel in reversed(self._panels) for item in panel(request)]
        figures = [item for item in items if isinstance(item, Figure)]
        tables = [item for item in items if isinstance(item, Table)]
        return super().index(request, {"figures": figures, "tables": tables, **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        if app_label is not None:
            return list(super().get_app_list(request, app_label))
        entries = {model["object_name"]: model for app in super().get_app_list(request) for model in app["models"]}
        if may(request, OPERATOR):
            entries |= {page.key: self._page_entry(page) for page in self._pages}
        groups: list[dict[str, Any]] = []
        for section in sorted(self._sections, key=lambda section: section.rank):
            models = [
                {**entries.pop(key), **({"name": label} if label else {})}
                for key, label in section.entries.items()
                if key in entries
            ]
            groups.append(self._group(section.name, models))
        groups.append(self._group("More", list(entries.values())))
        return [group for group in groups if group["models"]]

    def _page_entry(self, page: Page) -> dict[str, Any]:
        address = reverse(f"admin:{page.route}")
        return {"name": page.name, "object_name": page.key, "admin_url": address, "view_only": True}

    def _group(self, name: str, models: list[Any]) -> dict[str, Any]:
        address = reverse("admin:index")
        return {"name": name, "app_label": name.lower(), "app_url": address, "has_module_perms": True, "models": models}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, {"oidc_name": oidc_name(), **(extra_context or {})})
        user = user_of(request)
        if request.method == "POST" and response.status_code == 302 and user is not None:
            audit_record(actor=actor_of(request), action="admin.login", tenant_id=user.tenant_id)
            browser_mark(request, response, user.get_username())
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, SignInForm) and form.wait:
            response.status_code = 429
            response["Retry-After"] = str(form.wait)
        return response

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        if request.method == "POST":
            sign_out_person(request, "admin")
        return super().logout(request, extra_context)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        user = user_of(request)
        if request.method != "POST" or user is None:
            return super().password_change(request, extra_context)
        with write_transaction():
            response = super().password_change(request, extra_context)
            if response.status_code == 302:
                audit_record(
                    actor=actor_of(request),
                    action="user.password",
                    target=user.get_username(),
                    tenant_id=user.tenant_id,
                )
        return response


SITE = process_wide(GatewayAdminSite(name="admin"))
"""Process-wide instance; importing a room's `admin` module fills it."""
