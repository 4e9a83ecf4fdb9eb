"""The lists of the admin are filtered by what their filters offer, and by no other column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.test import Client

from admin_app.site import SITE
from tests.admin.conftest import Waiting

pytestmark = pytest.mark.django_db

ADMINS: list[ModelAdmin[Any]] = list(SITE._registry.values())
LOOKUPS = ("", "__exact", "__startswith", "__gte", "__isnull", "__regex", "__in")


def ids(admin: ModelAdmin[Any]) -> str:
    return admin.opts.label_lower


def offered(admin: ModelAdmin[Any]) -> set[str]:
    """The parameters that the list's own filters use."""
    found: set[str] = set()
    for one in admin.list_filter:
        if isinstance(one, type) and issubclass(one, SimpleListFilter):
            assert one.parameter_name is not None
            found.add(one.parameter_name)
        else:
            found |= {f"{one}__exact", f"{one}__isnull"}
    return found


def columns(admin: ModelAdmin[Any]) -> Iterator[str]:
    """The columns of the model, those of its relations (both directions), and the key by its other name."""
    yield "pk"
    for field in admin.model._meta.get_fields():
        yield field.name
        if field.is_relation and field.related_model not in (None, "self"):
            yield from (f"{field.name}__{other.name}" for other in field.related_model._meta.get_fields())


@pytest.mark.parametrize("admin", ADMINS, ids=ids)
def test_no_column_but_those_of_its_filters_filters_a_list(
    root: Client, person: Client, waiting: Waiting, admin: ModelAdmin[Any]
) -> None:
    home = f"/admin/{admin.opts.app_label}/{admin.opts.model_name}/"
    request = root.get(home).wsgi_request
    known = offered(admin)
    for lookup in {f"{column}{kind}" for column in columns(admin) for kind in LOOKUPS} - known:
        assert not admin.lookup_allowed(lookup, "1", request), lookup
    for lookup in known:
        assert admin.lookup_allowed(lookup, "1", request), lookup
        assert root.get(home, {lookup: "1"}).status_code in (200, 302), lookup


@pytest.mark.parametrize(
    ("page", "column"),
    [
        ("/admin/tenants_app/apikey/", "secret_hash__startswith"),
        ("/admin/events_app/webhookendpoint/", "secret__startswith"),
        ("/admin/events_app/webhookendpoint/", "former_secret__isnull"),
        ("/admin/tools_app/sessiontool/", "sealed_secret__startswith"),
        ("/admin/tools_app/toolcall/", "token_hash__startswith"),
        ("/admin/tenants_app/tenant/", "api_keys__secret_hash__startswith"),
        ("/admin/tenants_app/user/", "password__startswith"),
    ],
)
def test_a_secret_is_not_told_letter_by_letter(
    root: Client, person: Client, waiting: Waiting, page: str, column: str
) -> None:
    for client in (root, person):
        assert {client.get(page, {column: given}).status_code for given in ("a", "0", "True", "False")} == {400}
