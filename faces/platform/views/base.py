"""The base of the viewsets: the scope, and pages in the order in which rows were made."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from core_app.errors import BadRequest, NotFound
from edge_app.rest.paging import cursor_of, limit_of, next_cursor
from edge_app.rest.viewsets import GatewayViewSet
from tenants_app.models import Tenant
from tenants_app.principal import PLATFORM

M = TypeVar("M", bound=Model)


class PlatformViewSet(GatewayViewSet):
    """Base viewset. Services get the caller's name alone: a key with the scope `platform` may do everything."""

    scope = PLATFORM

    @property
    def actor(self) -> str:
        """The caller's name in audit entries."""
        return self.principal.actor

    def page(self, rows: QuerySet[M], *, newest_first: bool = False) -> tuple[list[M], str | None]:
        """Returns a page of the rows, and the cursor of the next one."""
        limit, cursor = limit_of(self.request), cursor_of(self.request)
        if cursor is not None:
            rows = rows.filter(**{"pk__lt" if newest_first else "pk__gt": cursor})
        found = list(rows.order_by("-pk" if newest_first else "pk")[: limit + 1])
        return found[:limit], next_cursor(found[limit - 1].pk) if len(found) > limit else None

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Returns a query parameter that is one of `choices`, None where it is missing; raises BadRequest."""
        value = self.request.query_params.get(name)
        if value and value not in choices:
            raise BadRequest(f"'{name}' is one of {', '.join(choices)}.", field=name)
        return value or None


def tenant_get(slug: str) -> Tenant:
    """Returns the tenant of a path; raises NotFound."""
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise NotFound("There is no tenant with that slug.")
    return found


def tenant_of_body(slug: str) -> Tenant:
    """Returns the tenant that a body names; raises BadRequest with the field."""
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise BadRequest("There is no tenant with that slug.", field="tenant")
    return found


def overlay_body(data: Any, **current: Any) -> dict[str, Any]:
    """Returns the current values with those of a body over them."""
    return {name: data.get(name, value) for name, value in current.items()}
