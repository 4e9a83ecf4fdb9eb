"""Base classes of the admin's lists and pages: tenant isolation, permissions by scope, confirmation before actions.

Superusers see all rows. A tenant's staff see their tenant's rows as far as their scopes allow; any other row answers
404. No list counts its whole table: rows are counted up to a limit, and read in the order of an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.contrib.admin.widgets import AdminSplitDateTime, RelatedFieldWidgetWrapper
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

from admin_app.access import may, tenant_of
from core_app.database import write_transaction
from core_app.errors import GatewayError
from tenants_app.models import Tenant

COUNT_LIMIT = 5_000
"""Rows that a list counts and pages through. Filters and search find the others."""

ACTION_LIMIT = 200
"""Rows that one action accepts: each is a transaction, and a person waits for the page."""

TENANT_CHOICES = 50

_FIELD_LOOKUPS = ("exact", "isnull")
"""Lookups in the links of Django's filters by choices and booleans."""


def is_id(text: str) -> bool:
    """True for a text that can be a primary key: digits that fit a database's integer."""
    return text.isdecimal() and text.isascii() and len(text) < 19


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Paginator that counts up to COUNT_LIMIT rows and no further, because COUNT(*) reads the whole table."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most COUNT_LIMIT."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows[:COUNT_LIMIT].count()

    @property
    def is_cut(self) -> bool:
        """True when there may be rows beyond the last page."""
        return self.count >= COUNT_LIMIT


class TenantFilter(admin.SimpleListFilter):
    """Filter for the rows of one tenant, for people who see several."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if tenant_of(request) is not None:
            return []
        tenants = list(Tenant.objects.values_list("pk", "slug").order_by("slug")[:TENANT_CHOICES])
        chosen = request.GET.get(self.parameter_name, "")
        if is_id(chosen) and int(chosen) not in dict(tenants):
            tenants += Tenant.objects.filter(pk=chosen).values_list("pk", "slug")
        return [(str(pk), slug) for pk, slug in tenants]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value() or ""
        return queryset.filter(tenant_id=int(chosen)) if is_id(chosen) else queryset


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The page before an action: its message, the text on its button, and the label of a text field, if it has one."""

    action: str
    title: str
    message: str
    button: str
    prompt: str | None = None
    template: str = "admin/admin_app/confirm.html"


class TenantModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Admin of rows that belong to tenants. `change_scopes` allow to change and see them, `view_scopes` to see them."""

    view_scopes: tuple[str, ...] = ()
    change_scopes: tuple[str, ...] = ()
    id_search_fields: tuple[str, ...] = ()
    """Indexed columns that are searched for a complete id. A search in `search_fields` reads every row."""
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    change_list_template = "admin/admin_app/change_list.html"

    class Media:
        css = {"all": ["tenants_app/admin.css"]}

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Tenant) -> QuerySet[Any]:
        """Returns the tenant's rows."""
        return queryset.filter(tenant_id=tenant.pk)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tenant = tenant_of(request)
        rows = super().get_queryset(request)
        return rows if tenant is None else self.filter_tenant(rows, tenant)

    def get_search_fields(self, request: HttpRequest) -> list[str] | tuple[str, ...]:
        # Django shows the search box only where there are search fields.
        return super().get_search_fields(request) or self.id_search_fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not self.id_search_fields or not term:
            return super().get_search_results(request, queryset, search_term)
        either = Q(*((name, term) for name in self.id_search_fields), _connector=Q.OR)
        # In a query of its own: combined with the list's order, PostgreSQL walks the whole table backwards.
        found = list(self.model._default_manager.filter(either).values_list("pk", flat=True)[:COUNT_LIMIT])
        return queryset.filter(pk__in=found), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model:
        found: Model | None = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            # No button that adds a tenant from another model's form.
            field.widget = field.widget.widget
        if field is not None and isinstance(field.widget, AdminSplitDateTime):
            # Its label is that of the first input alone.
            for part, widget in zip(("date", "time"), field.widget.widgets, strict=True):
                widget.attrs["aria-label"] = f"{capfirst(field.label)}, {part}"
        return field

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """True for what the filters of the list put into its address. Django allows every column of the model, which
        would tell a hash letter by letter (`?secret_hash__startswith=`)."""
        # No database accepts a longer number, and SQLite's driver raises.
        given = value if isinstance(value, list | tuple) else [value]
        if any(str(one).lstrip("-").isdecimal() and len(str(one)) > 19 for one in given):
            return False
        return any(_puts_into_address(one, lookup) for one in self.get_list_filter(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may(request, *self.view_scopes, *self.change_scopes)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may(request, *self.change_scopes)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request, *self.change_scopes)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        shown = {"title": title, **(extra_context or {})}
        if request.POST.get("action") != "delete_selected":
            return super().changelist_view(request, shown)
        try:
            # Django's own action: it logs all deletions before it begins with the first.
            with write_transaction():
                return super().changelist_view(request, shown)
        except GatewayError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._run_form_view(request, super().add_view, *args, **kwargs)

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._run_form_view(request, super().change_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._run_form_view(request, super().delete_view, *args, **kwargs)

    def _run_form_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kw: Any
    ) -> HttpResponse:
        """Runs a form's view in a write transaction. A service's error appears in the form, which keeps its input.

        Django would open a plain transaction. On SQLite the services inside would then wait for this process's
        writer, which waits for the database that the plain transaction holds.
        """
        if request.method != "POST":
            return view(request, *args, **kw)
        try:
            with write_transaction():
                return view(request, *args, **kw)
        except GatewayError as error:
            if view.__name__ == "delete_view":
                messages.error(request, error.message)
                return HttpResponseRedirect(request.get_full_path())
            request.service_error = error  # type: ignore[attr-defined]  # `get_form` adds it to the form
            with write_transaction():
                return view(request, *args, **kw)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        error = getattr(request, "service_error", None)
        return form if error is None else _form_with_error(form, error)

    def confirm_action(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        confirmation: Confirmation,
        act: Callable[[Any, str], str],
    ) -> HttpResponse | None:
        """Shows the confirmation page, then calls `act(row, text)` for each row and shows the sentences it returns.

        A service's error becomes a message. An action that began on a row's own page returns there.
        """
        rows = list(queryset[: ACTION_LIMIT + 1])
        if len(rows) > ACTION_LIMIT:
            messages.error(request, f"At most {ACTION_LIMIT} rows at once: choose fewer.")
            return None
        if "confirmed" not in request.POST:
            return self._confirmation_page(request, rows, confirmation)
        text = request.POST.get("text", "").strip()
        for row in rows:
            try:
                messages.success(request, act(row, text))
            except GatewayError as error:
                messages.error(request, f"{row}: {error.message}")
        return self._back(request, rows)

    def confirmation_rows(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows as the confirmation page shows them; each has a `pk`."""
        return rows

    def _confirmation_page(
        self, request: HttpRequest, rows: Sequence[Model], confirmation: Confirmation
    ) -> TemplateResponse:
        shown = {
            **self.admin_site.each_context(request),
            "title": confirmation.title,
            "opts": self.opts,
            "confirmation": confirmation,
            "rows": self.confirmation_rows(rows),
            "chosen": ACTION_CHECKBOX_NAME,
            "from_page": request.POST.get("from_page", ""),
            "back": self._page_of(rows[0]) if "from_page" in request.POST and rows else request.get_full_path(),
        }
        return TemplateResponse(request, confirmation.template, shown)

    def _back(self, request: HttpRequest, rows: Sequence[Model]) -> HttpResponse | None:
        """Redirects to the row's page when the action began there and the row still exists; else the list is shown."""
        if not request.POST.get("from_page") or len(rows) != 1:
            return None
        if not self.get_queryset(request).filter(pk=rows[0].pk).exists():
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        return HttpResponseRedirect(self._page_of(rows[0]))

    def _page_of(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(row.pk)])


def _puts_into_address(list_filter: Any, lookup: str) -> bool:
    """True when the filter, a class or the name of a field, has links with this parameter."""
    if isinstance(list_filter, type) and issubclass(list_filter, admin.SimpleListFilter):
        return lookup == list_filter.parameter_name
    field, _, kind = lookup.rpartition("__")
    return field == list_filter and kind in _FIELD_LOOKUPS


def _form_with_error(form: type[Any], error: GatewayError) -> type[Any]:
    """Returns the form with a service's error among its own, at the field that the error names."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        self.add_error(_field_of(error.field, self.fields), error.message)
        return cleaned

    return type(form.__name__, (form,), {"clean": clean})


def _field_of(path: str | None, fields: Mapping[str, Any]) -> str | None:
    """Returns the form's field for the path that an error names: `settings.rpm` is at `rpm`, else at `settings`."""
    parts = (path or "").split(".")
    return next((name for name in (path, *parts[1:2], parts[0]) if name in fields), None)


class ReadOnlyModelAdmin(TenantModelAdmin):
    """Admin of rows that nobody edits; actions, if any, call services."""

    actions: Sequence[Any] = ()
    sortable_by: ClassVar[tuple[str, ...]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kw: Any) -> HttpResponse:
        # Nobody changes these rows here, so their history is empty: no button that leads to it.
        return super().render_change_form(request, context, *args, **{**kw, "change": False})
