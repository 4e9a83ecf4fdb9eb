"""Tests of key setup at start: keys seeded from GATEWAY_API_KEYS, or the first key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from core_app.errors import Unauthorized
from tenants_app.authentication import principal_for_secret
from tenants_app.models import ApiKey, Tenant, User
from tenants_app.principal import SCOPES, TENANT_SCOPES
from tenants_app.services import FirstStart, bootstrap_first_start, keys_seed
from tests.conftest import Caller

pytestmark = pytest.mark.django_db


def test_a_bare_key_is_of_the_default_tenant_and_may_do_everything() -> None:
    keys_seed(["letmein-1"])
    principal = principal_for_secret("letmein-1")
    assert principal.tenant_slug == "default"
    assert principal.scopes == frozenset(SCOPES)


def test_a_key_of_another_tenant_may_do_all_but_platform() -> None:
    keys_seed(["letmein-1", "letmein-2:acme"])
    principal = principal_for_secret("letmein-2")
    assert principal.tenant_slug == "acme"
    assert principal.scopes == frozenset(TENANT_SCOPES)


def test_a_key_taken_out_is_revoked_and_put_back_is_good_again(owner: Caller) -> None:
    keys_seed(["one", "two:acme"])
    keys_seed(["two:acme"])
    with pytest.raises(Unauthorized):
        principal_for_secret("one")
    assert principal_for_secret("two")
    assert principal_for_secret(owner.secret)
    keys_seed(["one"])
    assert principal_for_secret("one")
    with pytest.raises(Unauthorized):
        principal_for_secret("two")
    assert ApiKey.objects.filter(seeded=True).count() == 2


def test_an_empty_list_revokes_what_was_seeded_and_nothing_else(owner: Caller) -> None:
    keys_seed(["one"])
    keys_seed([])
    with pytest.raises(Unauthorized):
        principal_for_secret("one")
    assert principal_for_secret(owner.secret)


def test_a_key_moved_to_another_tenant_moves_with_its_scopes() -> None:
    keys_seed(["one"])
    keys_seed(["one:acme"])
    principal = principal_for_secret("one")
    assert (principal.tenant_slug, principal.scopes) == ("acme", frozenset(TENANT_SCOPES))


def test_seeding_the_same_again_changes_nothing() -> None:
    keys_seed(["one", "two:acme"])
    before = list(ApiKey.objects.order_by("id").values())
    keys_seed([" two:acme ", "one", "", "one"])
    assert list(ApiKey.objects.order_by("id").values()) == before


def test_a_short_seeded_key_is_not_given_away_by_its_prefix() -> None:
    keys_seed(["secret"])
    assert ApiKey.objects.get().prefix == "se"


@pytest.mark.parametrize("entry", [":acme", "spa ce", "ключ", "key:Not A Slug", "k" * 257])
def test_an_entry_that_is_no_key_stops_the_start_without_showing_it(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_API_KEYS") as refused:
        keys_seed([entry])
    assert entry not in str(refused.value)
    assert not ApiKey.objects.exists()


def test_one_key_cannot_be_of_two_tenants() -> None:
    with pytest.raises(ImproperlyConfigured):
        keys_seed(["one:acme", "one:rival"])


def test_the_first_start_makes_a_tenant_a_key_and_an_administrator() -> None:
    first = bootstrap_first_start()
    assert first is not None
    assert principal_for_secret(str(first.api_key)).scopes == frozenset(SCOPES)
    admin = User.objects.get(username=first.admin_username)
    assert admin.is_superuser
    assert admin.tenant is not None
    assert admin.tenant.slug == "default"
    assert first.admin_password is not None
    assert admin.check_password(first.admin_password)
    assert str(first.api_key) not in repr(first)
    assert first.admin_password not in repr(first)


def test_the_second_start_makes_nothing() -> None:
    bootstrap_first_start()
    assert bootstrap_first_start() is None
    assert (Tenant.objects.count(), ApiKey.objects.count(), User.objects.count()) == (1, 1, 1)


def test_a_start_with_seeded_keys_makes_an_administrator_and_no_key(settings: Any) -> None:
    settings.GATEWAY_API_KEYS = ["one"]
    first = bootstrap_first_start()
    assert first is not None
    assert (first.api_key, first.admin_username) == (None, "admin")
    assert User.objects.get(username="admin").check_password(str(first.admin_password))
    assert not ApiKey.objects.exists()
    assert bootstrap_first_start() is None


def test_who_has_a_superuser_or_took_admin_from_being_one_gets_no_other(settings: Any) -> None:
    settings.GATEWAY_API_KEYS = ["one"]
    operator = User.objects.create_superuser("operator", password="of-the-operator")
    assert bootstrap_first_start() is None
    operator.delete()
    User.objects.create_user("admin", password="not-any-more")
    assert bootstrap_first_start() is None


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_at_once_make_one_first_key() -> None:
    def start(_: int) -> FirstStart | None:
        try:
            return bootstrap_first_start()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        made = [first for first in threads.map(start, range(4)) if first is not None]
    assert len(made) == 1
    assert ApiKey.objects.count() == 1
