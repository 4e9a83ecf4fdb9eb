"""The base of the admin pages of the operator's settings: superusers change them, through the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest

from admin_app.access import actor_of, user_of
from admin_app.tables import TenantModelAdmin
from inference_app.operator.services import row_remove, row_save

_HELP = {
    "prefix": "How the models' names begin. The longest that fits wins.",
    "providers": 'Who serves them, in the order in which they are tried: ["openai", "openrouter"].',
    "alias.name": "What clients name it.",
    "input": "US dollars for a million tokens.",
    "output": "US dollars for a million tokens.",
    "cached": "US dollars for a million tokens that were read from the provider's cache. Empty: as input.",
    "cache_write": "US dollars for a million tokens that it wrote to its cache. Empty: 1.25 times the input.",
    "cache_write_hour": "The same, for tokens that it keeps for an hour. Empty: 2 times the input.",
    "substitution": "Whether the fallback chain serves unknown models. Unknown: no.",
    "api_key": "One of the tenant's keys. Empty: all of them together.",
    "period": "Minutes, days and months of UTC.",
    "tokens": "In and out together. Past it calls are answered 402 (429 where it is a minute's). Empty: not limited.",
    "usd": "US dollars, of models whose price is known. Empty: not limited. One of the two is needed.",
}
_LABELS = {"api_key": "API key", "usd": "US dollars"}


class OperatorSettingAdmin(TenantModelAdmin):
    """The base of the pages: superusers have all permissions, others none."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            known = _HELP.get(f"{self.opts.model_name}.{db_field.name}") or _HELP.get(db_field.name)
            field.help_text = known or field.help_text
            field.label = _LABELS.get(db_field.name, field.label)
            if isinstance(field, forms.JSONField) and field.initial is None:
                field.initial = list
        return field

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Any) -> QuerySet[Any]:
        return queryset.none()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = user_of(request)
        return user is not None and user.is_active and user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        row_save(row=obj, actor=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        row_remove(row=obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            row_remove(row=row, actor=actor_of(request))
