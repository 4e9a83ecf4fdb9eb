"""The operator's admin: its own front page, its own order of things, and every sign-in in the audit trail.

Rooms register their models on `SITE` and their part of the front page with `panel_add`; the URL module serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from admin_app.access import actor_of, is_let_in, may, user_of
from admin_app.sign_in import SignInForm
from admin_app.sign_in_throttle import browser_mark
from admin_app.usage import usage_page
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from tenants_app.principal import OPERATOR
from tenants_app.services import audit_record

_SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Work", ("AgentSession", "ToolCall", "SessionTool")),
    ("Spending", ("Usage", "LedgerEntry")),
    ("Models", ("Relayed", "Provider", "Route", "Alias", "Price", "TenantModels", "Budget")),
    ("Access", ("Tenant", "ApiKey", "User")),
    ("Webhooks", ("WebhookEndpoint", "WebhookDelivery")),
    ("Record", ("AuditEntry",)),
)
"""The navigation, by model; what a room adds without being named here comes last."""

_NAMES = {
    "AgentSession": "Sessions",
    "AuditEntry": "Audit trail",
    "WebhookEndpoint": "Endpoints",
    "WebhookDelivery": "Deliveries",
}
"""What is called otherwise in the navigation than in the code, where Django has a `Session` too."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number on the front page and where it leads. `tone` is `alarm` for what somebody should see to."""

    label: str
    value: str
    url: str | None = None
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows on the front page; each is its cells, and where the first one leads."""

    title: str
    url: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a room's own: its address beneath the admin's, its name, and its key in the navigation."""

    route: str
    name: str
    key: str
    view: Callable[[HttpRequest, dict[str, Any]], HttpResponse]


Panel = Callable[[HttpRequest], Sequence[Figure | Table]]


class GatewayAdminSite(AdminSite):
    """Django's admin under the gateway's name, for whoever runs the gateway and for tenants' own people."""

    site_header = site_title = "Agent Gateway"
    site_url = None
    index_title = "Overview"
    login_form = SignInForm
    index_template = "admin/tenants_app/overview.html"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self._panels: list[Panel] = []
        self._pages: list[Page] = []

    def panel_add(self, panel: Panel) -> None:
        """Puts a room's numbers and tables on the front page; the upper rooms, which come last, are shown first."""
        self._panels.append(panel)

    def page_add(self, page: Page) -> None:
        """Puts a room's own page into the navigation, for who holds the scope `operator`."""
        self._pages.append(page)

    def has_permission(self, request: HttpRequest) -> bool:
        return is_let_in(request)

    def get_urls(self) -> list[Any]:
        own = [path(f"{page.route}/", self.admin_view(self._serving(page)), name=page.route) for page in self._pages]
        return [path("usage/", self.admin_view(self.usage), name="usage"), *own, *super().get_urls()]

    def _serving(self, page: Page) -> Callable[[HttpRequest], HttpResponse]:
        return lambda request: page.view(request, self.each_context(request))

    def usage(self, request: HttpRequest) -> HttpResponse:
        """The page of charts."""
        return usage_page(request, self.each_context(request))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        parts = [part for panel in reversed(self._panels) for part in panel(request)]
        figures = [part for part in parts if isinstance(part, Figure)]
        tables = [part for part in parts if isinstance(part, Table)]
        return super().index(request, {"figures": figures, "tables": tables, **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        if app_label is not None:
            return list(super().get_app_list(request, app_label))
        entries = {model["object_name"]: model for app in super().get_app_list(request) for model in app["models"]}
        for key in _NAMES.keys() & entries.keys():
            entries[key] = {**entries[key], "name": _NAMES[key]}
        if may(request, OPERATOR):
            usage = {"name": "Usage", "object_name": "Usage", "admin_url": reverse("admin:usage"), "view_only": True}
            entries["Usage"] = usage
            for page in self._pages:
                address = reverse(f"admin:{page.route}")
                shown = {"name": page.name, "object_name": page.key, "admin_url": address, "view_only": True}
                entries[page.key] = shown
        listed = [(name, [entries.pop(key) for key in keys if key in entries]) for name, keys in _SECTIONS]
        return [self._section(name, models) for name, models in (*listed, ("More", list(entries.values()))) if models]

    def _section(self, name: str, models: list[Any]) -> dict[str, Any]:
        address = reverse("admin:index")
        return {"name": name, "app_label": name.lower(), "app_url": address, "has_module_perms": True, "models": models}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        user = user_of(request)
        if request.method == "POST" and response.status_code == 302 and user is not None:
            audit_record(actor=actor_of(request), action="admin.login", tenant_id=user.tenant_id)
            browser_mark(request, response, user.get_username())
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, SignInForm) and form.wait:
            response.status_code = 429
            response["Retry-After"] = str(form.wait)
        return response

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
