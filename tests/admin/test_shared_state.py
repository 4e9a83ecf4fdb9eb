"""No request leaves something of itself in what all requests share: classes of forms, admins and serializers.

Two people, a superuser and a tenant's administrator, use every registered admin. What the classes hold is compared
before and after, and the forms of the two are compared with each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import QuerySet
from django.test import Client, RequestFactory
from rest_framework.fields import Field as WireField
from rest_framework.serializers import Serializer

from admin_app.site import SITE
from faces.native import serializers  # noqa: F401  (defines serializers)
from tenants_app.models import ApiKey, Tenant, User
from tenants_app.principal import PLATFORM, TENANT_SCOPES
from tests.admin.conftest import Waiting

pytestmark = pytest.mark.django_db

OURS = (
    "admin_app", "agents_app", "core_app", "edge_app", "events_app", "faces", "gateway_project", "inference_app",
    "sessions_app", "tenants_app", "tools_app",
)  # fmt: skip
ADMINS: list[ModelAdmin[Any]] = list(SITE._registry.values())
DEPTH = 6


def ids(admin: ModelAdmin[Any]) -> str:
    return admin.opts.label_lower


def subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


def shared_classes() -> list[type[Any]]:
    """The classes of this project that requests make objects of, and what an admin is a class of."""
    bases = (forms.BaseForm, ModelAdmin, Serializer, forms.Field, forms.Widget, WireField)
    found = {one for base in bases for one in subclasses(base) if one.__module__.split(".")[0] in OURS}
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__qualname__} {id(one)}")


def description(value: Any, depth: int = DEPTH, seen: tuple[int, ...] = ()) -> Any:
    """A value that compares equal as long as `value` has not changed."""
    if isinstance(value, str | bytes | int | float | None):
        return value
    if depth == 0 or id(value) in seen:
        return type(value).__name__
    seen = (*seen, id(value))
    if isinstance(value, QuerySet):
        return str(value.query)
    if isinstance(value, Mapping):
        return {str(key): description(item, depth - 1, seen) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [description(item, depth - 1, seen) for item in items]
    if isinstance(value, forms.Field | forms.Widget | WireField):
        return {name: description(item, depth - 1, seen) for name, item in vars(value).items()}
    return getattr(value, "__qualname__", type(value).__name__)


def state_of_classes() -> dict[str, Any]:
    """Returns the state of the classes, and of the admins that all requests share."""
    held: dict[str, Any] = {}
    for one in shared_classes():
        name = f"{one.__module__}.{one.__qualname__}"
        held[name] = {key: description(value) for key, value in vars(one).items() if key not in ("__doc__", "media")}
    for admin in ADMINS:
        held[ids(admin)] = {key: description(value) for key, value in vars(admin).items() if key != "admin_site"}
    return held


def request_of(user: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = user
    request.session = SessionStore()
    return request


def use(client: Client, admin: ModelAdmin[Any]) -> None:
    """Opens the list, the form for a new row and the newest row's, and posts to each."""
    home = f"/admin/{admin.opts.app_label}/{admin.opts.model_name}/"
    newest = admin.model._default_manager.order_by("-pk").first()
    pages = [home, f"{home}add/", *([f"{home}{newest.pk}/change/"] if newest is not None else [])]
    for page in pages:
        client.get(page)
        client.post(page, {"name": "", "scopes": ["platform"], "tenant": "0", "action": "none"})


@pytest.fixture
def ann(person: Client) -> User:
    return User.objects.get(username="ann")


@pytest.fixture
def operator(root: Client) -> User:
    return User.objects.get(username="root")


def test_nothing_that_a_request_does_stays_in_a_class(root: Client, person: Client, waiting: Waiting) -> None:
    for admin in ADMINS:  # fills what is computed once
        use(root, admin)
    before = state_of_classes()
    assert len(before) > 40
    for admin in ADMINS:
        use(person, admin)
        changed = {name for name, held in state_of_classes().items() if held != before.get(name, held)}
        assert changed == set(), ids(admin)
        use(root, admin)


@pytest.mark.parametrize("admin", ADMINS, ids=ids)
def test_a_form_is_as_its_own_request_made_it(
    admin: ModelAdmin[Any], ann: User, operator: User, waiting: Waiting
) -> None:
    """In every order: what another's request builds meanwhile does not change the form that was built before."""
    people = (ann, operator)
    alone = {user.pk: description(admin.get_form(request_of(user)).base_fields) for user in people}
    for first, second in itertools.permutations(people):
        form = admin.get_form(request_of(first))
        admin.get_form(request_of(second))
        assert description(form.base_fields) == alone[first.pk]


def test_what_staff_may_not_grant_is_refused_while_a_superuser_looks(ann: User, operator: User, tenant: Tenant) -> None:
    """Before, the choices of the scopes were in the class: those of whoever came last."""
    admin = SITE._registry[ApiKey]
    form = admin.get_form(request_of(ann))
    admin.get_form(request_of(operator))
    given = {"tenant": tenant.pk, "name": "x", "scopes": [PLATFORM, "inference"], "rpm": "", "expires_at": ""}
    assert "scopes" in form(given).errors
    assert "scopes" not in form({**given, "scopes": list(TENANT_SCOPES)}).errors
