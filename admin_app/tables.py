"""What every list and page of the admin shares: whose rows are shown, who may do what, and asking before acting.

A superuser sees all rows; a tenant's person those of the tenant, as far as the scopes go, and everything else does
not exist (404). No list counts its table: rows are counted up to a bound, and read in the order of an index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
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

COUNTED = 5_000
"""Rows that a list counts, and pages through: more is found by filters and search, not by paging."""

AT_ONCE = 200
"""Rows that one action takes: each is a transaction, and somebody waits for the page."""

LISTED_TENANTS = 50


def is_id(text: str) -> bool:
    """Whether it can be the number of a row: digits that a database takes."""
    return text.isdecimal() and text.isascii() and len(text) < 19


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to COUNTED rows and no further: COUNT(*) reads the whole table."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or COUNTED when there are at least so many."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows[:COUNTED].count()

    @property
    def is_cut(self) -> bool:
        """Whether there may be rows beyond the last page."""
        return self.count >= COUNTED


class TenantFilter(admin.SimpleListFilter):
    """Rows of one tenant, for who sees several."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if tenant_of(request) is not None:
            return []
        tenants = list(Tenant.objects.values_list("pk", "slug").order_by("slug")[:LISTED_TENANTS])
        chosen = request.GET.get(self.parameter_name, "")
        if is_id(chosen) and int(chosen) not in dict(tenants):
            tenants += Tenant.objects.filter(pk=chosen).values_list("pk", "slug")
        return [(str(pk), slug) for pk, slug in tenants]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value() or ""
        return queryset.filter(tenant_id=int(chosen)) if is_id(chosen) else queryset


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an action: what will happen, and the words on the button. `asks` names a text to give."""

    action: str
    title: str
    says: str
    yes: str
    asks: str | None = None
    template: str = "admin/admin_app/confirm.html"


class TenantRows(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that belong to tenants. The scopes say which of a tenant's people see and change them."""

    view_scopes: tuple[str, ...] = ()
    change_scopes: tuple[str, ...] = ()
    whole_ids: tuple[str, ...] = ()
    """Columns with an index, which are searched for a whole id. `search_fields` read every row."""
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    change_list_template = "admin/admin_app/change_list.html"

    class Media:
        css = {"all": ["tenants_app/admin.css"]}

    def of_tenant(self, queryset: QuerySet[Any], tenant: Tenant) -> QuerySet[Any]:
        """The rows that are the tenant's."""
        return queryset.filter(tenant_id=tenant.pk)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tenant = tenant_of(request)
        rows = super().get_queryset(request)
        return rows if tenant is None else self.of_tenant(rows, tenant)

    def get_search_fields(self, request: HttpRequest) -> list[str] | tuple[str, ...]:
        # Django shows the box only where there are some.
        return super().get_search_fields(request) or self.whole_ids

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not self.whole_ids or not term:
            return super().get_search_results(request, queryset, search_term)
        either = Q(*((name, term) for name in self.whole_ids), _connector=Q.OR)
        # First alone: together with the order of the list, PostgreSQL walks the whole table backwards.
        found = list(self.model._default_manager.filter(either).values_list("pk", flat=True)[:COUNTED])
        return queryset.filter(pk__in=found), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model:
        found: Model | None = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            # A tenant is not made in passing.
            field.widget = field.widget.widget
        return field

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # No database takes a longer number, and SQLite's driver raises.
        given = value if isinstance(value, list | tuple) else [value]
        if any(str(one).lstrip("-").isdecimal() and len(str(one)) > 19 for one in given):
            return False
        return super().lookup_allowed(lookup, value, request)

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
            # Django's own, which notes all deletions before it begins with the first.
            with write_transaction():
                return super().changelist_view(request, shown)
        except GatewayError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._written(request, super().add_view, *args, **kwargs)

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._written(request, super().change_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._written(request, super().delete_view, *args, **kwargs)

    def _written(self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kw: Any) -> HttpResponse:
        """A form's work as a write transaction; what a service refuses is said in the form, with what was typed.

        Django opens a plain transaction there. On SQLite the services inside would wait for this process's writer,
        who waits for the database that the plain one holds.
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
            request.refused = error  # type: ignore[attr-defined]  # `get_form` puts it into the form
            with write_transaction():
                return view(request, *args, **kw)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        error = getattr(request, "refused", None)
        return form if error is None else _refusing(form, error)

    def confirmed(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        question: Question,
        act: Callable[[Any, str], str],
    ) -> HttpResponse | None:
        """Asks first, then does `act(row, text)` for each row and shows the sentence that it returns.

        What a service refuses becomes a message. From a row's own page it goes back to that page.
        """
        rows = list(queryset[: AT_ONCE + 1])
        if len(rows) > AT_ONCE:
            messages.error(request, f"At most {AT_ONCE} rows at once: choose fewer.")
            return None
        if "confirmed" not in request.POST:
            return self._asked(request, rows, question)
        text = request.POST.get("text", "").strip()
        for row in rows:
            try:
                messages.success(request, act(row, text))
            except GatewayError as error:
                messages.error(request, f"{row}: {error.message}")
        return self._back(request, rows)

    def asked_about(self, rows: Sequence[Any]) -> Sequence[Any]:
        """What the page that asks shows of the rows; each has a `pk`."""
        return rows

    def _asked(self, request: HttpRequest, rows: Sequence[Model], question: Question) -> TemplateResponse:
        shown = {
            **self.admin_site.each_context(request),
            "title": question.title,
            "opts": self.opts,
            "question": question,
            "rows": self.asked_about(rows),
            "chosen": ACTION_CHECKBOX_NAME,
            "from_page": request.POST.get("from_page", ""),
            "back": self._page_of(rows[0]) if "from_page" in request.POST and rows else request.get_full_path(),
        }
        return TemplateResponse(request, question.template, shown)

    def _back(self, request: HttpRequest, rows: Sequence[Model]) -> HttpResponse | None:
        """To the row's page, if the action began there and the row is still there; else to the list."""
        if not request.POST.get("from_page") or len(rows) != 1:
            return None
        if not self.get_queryset(request).filter(pk=rows[0].pk).exists():
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        return HttpResponseRedirect(self._page_of(rows[0]))

    def _page_of(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(row.pk)])


def _refusing(form: type[Any], error: GatewayError) -> type[Any]:
    """The form with a service's refusal among its own, beside the field that it names."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        self.add_error(error.field if error.field in self.fields else None, error.message)
        return cleaned

    return type(form.__name__, (form,), {"clean": clean})


class ReadOnlyRows(TenantRows):
    """Rows that are only looked at; actions, if any, call services."""

    actions: Sequence[Any] = ()
    sortable_by: ClassVar[tuple[str, ...]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kw: Any) -> HttpResponse:
        # Nobody changes them here, so their history is empty: no button that leads to it.
        return super().render_change_form(request, context, *args, **{**kw, "change": False})
