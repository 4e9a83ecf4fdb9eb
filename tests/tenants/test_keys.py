"""Tests of API keys: issue, change, rotation, revocation, and authentication."""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from core_app.errors import BadRequest, Conflict, Forbidden, Unauthorized
from tenants_app.authentication import (
    aprincipal_for_secret,
    aprincipal_recheck,
    principal_for_secret,
    principal_for_user,
    principal_recheck,
    secret_from_scope,
)
from tenants_app.key_cache import CAPACITY, KEY_CACHE, KeyCache
from tenants_app.models import ApiKey, AuditEntry, Tenant, User
from tenants_app.principal import SCOPES, TENANT_SCOPES, Principal
from tenants_app.services import (
    api_key_issue,
    api_key_revoke,
    api_key_rotate,
    api_key_update,
    tenant_create,
    tenant_update,
)
from tests.conftest import Caller, caller
from tests.tenants.hands import Hands

pytestmark = pytest.mark.django_db


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(KEY_CACHE, "clock", hands)
    KEY_CACHE.clear()
    return hands


def key_of(who: Caller) -> ApiKey:
    return ApiKey.objects.get(id=who.principal.key_id or 0)


def elsewhere(who: Caller, **values: object) -> None:
    """A change that another process makes: this one's cache does not hear of it."""
    ApiKey.objects.filter(id=who.principal.key_id or 0).update(**values)


def test_a_secret_is_kept_as_a_hash_and_shown_once(tenant: Tenant) -> None:
    issued = api_key_issue(tenant=tenant, name="ci", scopes=["sessions"])
    assert issued.secret.startswith("agw_")
    assert len(issued.secret) >= 40
    stored = " ".join(str(value) for value in ApiKey.objects.filter(id=issued.key.id).values()[0].values())
    assert issued.secret not in stored
    assert issued.secret not in repr(issued)
    assert issued.key.prefix == issued.secret[:12]


def test_two_secrets_differ(tenant: Tenant) -> None:
    first, second = (api_key_issue(tenant=tenant, name="x", scopes=()) for _ in range(2))
    assert first.secret != second.secret


def test_a_key_makes_a_principal_of_its_tenant(owner: Caller, tenant: Tenant) -> None:
    assert owner.principal.tenant_id == tenant.id
    assert owner.principal.scopes == frozenset(SCOPES)


@pytest.mark.parametrize("secret", [None, "", "agw_unknown", "x" * 100_000, "a b", "\x00", "\udfff", "ключ", "a\nb"])
def test_what_is_no_key_is_refused(owner: Caller, secret: str | None) -> None:
    with pytest.raises(Unauthorized):
        principal_for_secret(secret)


def test_a_malformed_key_costs_no_query(django_assert_num_queries: Any, owner: Caller) -> None:
    with django_assert_num_queries(0), pytest.raises(Unauthorized):
        principal_for_secret("x" * 257)


def test_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, owner: Caller) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEY_CACHE.clear()
    principal_for_secret(owner.secret)
    assert len(compared) == 1
    assert compared[0][0] == compared[0][1]


def test_every_refusal_reads_the_same(owner: Caller, colleague: Caller, stranger: Caller, other_tenant: Tenant) -> None:
    api_key_revoke(key=key_of(owner))
    ApiKey.objects.filter(id=colleague.principal.key_id or 0).update(expires_at=clock.now() - timedelta(seconds=1))
    tenant_update(tenant=other_tenant, disabled=True)
    texts = set()
    for secret in ("agw_never-issued", owner.secret, colleague.secret, stranger.secret):
        with pytest.raises(Unauthorized) as refused:
            principal_for_secret(secret)
        texts.add(refused.value.message)
    assert len(texts) == 1


def test_a_known_key_costs_no_query(django_assert_num_queries: Any, owner: Caller) -> None:
    principal_for_secret(owner.secret)
    with django_assert_num_queries(0):
        principal_for_secret(owner.secret)


def test_an_unknown_key_is_remembered_too(django_assert_num_queries: Any, owner: Caller) -> None:
    with django_assert_num_queries(1), pytest.raises(Unauthorized):
        principal_for_secret("agw_unknown")
    with django_assert_num_queries(0), pytest.raises(Unauthorized):
        principal_for_secret("agw_unknown")


def test_a_key_revoked_here_is_refused_at_once(owner: Caller, hands: Hands) -> None:
    principal_for_secret(owner.secret)
    api_key_revoke(key=key_of(owner))
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)


def test_a_key_revoked_by_another_process_is_refused_after_the_cache_time(
    settings: Any, owner: Caller, hands: Hands
) -> None:
    principal_for_secret(owner.secret)
    elsewhere(owner, revoked_at=clock.now())
    hands.now += settings.GATEWAY_KEY_CACHE_SECONDS - 1
    assert principal_for_secret(owner.secret)
    hands.now += 1
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)


def test_an_expired_key_is_refused(monkeypatch: pytest.MonkeyPatch, tenant: Tenant, hands: Hands) -> None:
    issued = api_key_issue(tenant=tenant, name="short", scopes=SCOPES, expires_at=clock.now() + timedelta(minutes=5))
    assert principal_for_secret(issued.secret)
    later = clock.now() + timedelta(minutes=5)
    monkeypatch.setattr(clock, "now", lambda: later)
    hands.now += 300
    with pytest.raises(Unauthorized):
        principal_for_secret(issued.secret)


def test_a_disabled_tenants_keys_are_refused_until_it_is_enabled(
    owner: Caller, stranger: Caller, tenant: Tenant
) -> None:
    tenant_update(tenant=tenant, disabled=True)
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)
    assert principal_for_secret(stranger.secret)
    tenant_update(tenant=tenant, disabled=False)
    assert principal_for_secret(owner.secret)


def test_rotating_ends_the_old_secret_and_keeps_the_key(owner: Caller) -> None:
    issued = api_key_rotate(key=key_of(owner))
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)
    assert principal_for_secret(issued.secret).key_id == owner.principal.key_id


def test_a_revoked_or_seeded_key_cannot_be_rotated(owner: Caller, colleague: Caller) -> None:
    api_key_revoke(key=key_of(owner))
    elsewhere(colleague, seeded=True)
    for who in (owner, colleague):
        with pytest.raises(Conflict):
            api_key_rotate(key=key_of(who))


def test_revoking_again_changes_nothing(owner: Caller) -> None:
    first = api_key_revoke(key=key_of(owner)).revoked_at
    assert first is not None
    assert api_key_revoke(key=key_of(owner)).revoked_at == first
    assert AuditEntry.objects.filter(action="api_key.revoke").count() == 1


def test_changed_scopes_hold_at_once(owner: Caller) -> None:
    key = key_of(owner)
    api_key_update(key=key, name=key.name, scopes=["sessions"], rpm=7, expires_at=None)
    fresh = principal_for_secret(owner.secret)
    assert fresh.scopes == {"sessions"}
    assert fresh.rpm == 7


def test_rpm_is_the_gateways_unless_the_key_has_its_own(settings: Any, tenant: Tenant) -> None:
    settings.GATEWAY_RATE_LIMIT_RPM = 60
    assert caller(tenant, ()).principal.rpm == 60
    assert caller(tenant, (), rpm=5).principal.rpm == 5
    assert caller(tenant, (), rpm=0).principal.rpm == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"scopes": ["sessions", "root"]}, "scopes"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"expires_at": clock.now() - timedelta(seconds=1)}, "expiresAt"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_issued(tenant: Tenant, values: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        api_key_issue(**{"tenant": tenant, "name": "x", "scopes": (), **values})
    assert refused.value.field == field
    assert not ApiKey.objects.exists()


def test_using_a_key_is_noted_at_most_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, owner: Caller, hands: Hands
) -> None:
    first = key_of(owner).last_used_at
    assert first is not None
    for seconds, expected in ((30, first), (61, first + timedelta(seconds=61))):
        monkeypatch.setattr(clock, "now", lambda moment=first + timedelta(seconds=seconds): moment)
        hands.now += seconds
        principal_for_secret(owner.secret)
        assert key_of(owner).last_used_at == expected


def test_a_lookup_that_began_before_a_change_is_not_remembered() -> None:
    cache = KeyCache()

    def load() -> Principal | None:
        cache.clear()
        return None

    cache.get_or_load("name", load)
    assert cache.get("name") is None


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = KeyCache()
    for number in range(CAPACITY + 1):
        cache.get_or_load(str(number), lambda: None)
    assert cache.get("0") is None
    assert cache.get("1") is not None


def test_a_recheck_finds_a_revoked_key(owner: Caller) -> None:
    assert principal_recheck(owner.principal) == owner.principal
    api_key_revoke(key=key_of(owner))
    with pytest.raises(Unauthorized):
        principal_recheck(owner.principal)


def test_a_recheck_never_gives_more_than_there_was(owner: Caller) -> None:
    narrow = replace(owner.principal, scopes=frozenset({"sessions"}), approvals_in_sessions=False)
    assert principal_recheck(narrow) == narrow


def test_a_recheck_finds_that_a_scope_was_taken_away(owner: Caller) -> None:
    key = key_of(owner)
    api_key_update(key=key, name=key.name, scopes=["inference"], rpm=None, expires_at=None)
    assert principal_recheck(owner.principal).scopes == {"inference"}


def test_many_rechecks_of_one_key_make_one_query(django_assert_num_queries: Any, owner: Caller) -> None:
    with django_assert_num_queries(2):  # the key, and whether its use is to be noted
        for _ in range(100):
            principal_recheck(owner.principal)


def test_principals_without_a_key_are_not_mixed_up(tenant: Tenant) -> None:
    one = Principal(tenant.id, tenant.slug, None, "a", frozenset({"sessions"}))
    two = Principal(tenant.id, tenant.slug, None, "b", frozenset({"admin"}))
    for known in (one, two):
        found = principal_recheck(known)
        assert (found.key_name, found.scopes) == (known.key_name, known.scopes)
        # A session token knows its holder's name and scopes only: the limits are the tenant's.
        assert (found.rpm, found.tenant_rpm) != (0, 0)
    tenant_update(tenant=tenant, disabled=True)
    with pytest.raises(Unauthorized):
        principal_recheck(one)


def test_a_user_acts_for_its_tenant_with_its_own_scopes(tenant: Tenant) -> None:
    user = User.objects.create_user("ann", tenant=tenant, scopes=["operator"])
    principal = principal_for_user(user)
    assert (principal.tenant_id, principal.key_id, principal.scopes) == (tenant.id, None, frozenset({"operator"}))
    assert principal.actor == "user:ann"
    User.objects.filter(id=user.id).update(is_active=False)
    KEY_CACHE.clear()
    with pytest.raises(Unauthorized):
        principal_recheck(principal)


def test_a_user_without_a_tenant_is_nobodys_principal() -> None:
    with pytest.raises(Unauthorized):
        principal_for_user(User.objects.create_user("bob"))


@pytest.mark.django_db(transaction=True)
async def test_the_event_loop_leaves_for_the_database_only_when_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = await database.run(tenant_create, slug="loop")
    issued = await database.run(api_key_issue, tenant=tenant, name="x", scopes=SCOPES)
    principal = await aprincipal_for_secret(issued.secret)
    assert await aprincipal_recheck(principal) == principal

    async def not_again(*args: object) -> None:
        raise AssertionError("the cache knows")

    monkeypatch.setattr(database, "run", not_again)
    assert await aprincipal_for_secret(issued.secret) == principal
    assert await aprincipal_recheck(principal) == principal
    with pytest.raises(Unauthorized):
        await aprincipal_for_secret(None)


def test_sessions_includes_approvals_where_the_tenant_says_so(tenant: Tenant) -> None:
    assert caller(tenant, ["sessions"]).principal.allows("approvals")
    tenant_update(tenant=tenant, settings={"approvals_in_sessions": False})
    strict = caller(tenant, ["sessions"]).principal
    assert strict.allows("sessions")
    with pytest.raises(Forbidden, match="'approvals'"):
        strict.require("approvals")
    caller(tenant, ["approvals"]).principal.require("approvals")


INCLUDED = {
    "sessions": {"approvals", "questions", "sessions:read"},
    "tasks": {"tasks:read"},
    "operator": {"usage:read"},
    "admin": {"webhooks"},
}


def test_nothing_else_is_included_in_a_scope(tenant: Tenant) -> None:
    for scope in SCOPES:
        allowed = {other for other in SCOPES if caller(tenant, [scope]).principal.allows(other)}
        assert allowed == {scope, *INCLUDED.get(scope, ())}


def test_only_platform_is_not_a_tenants_scope() -> None:
    assert set(SCOPES) - set(TENANT_SCOPES) == {"platform"}


@pytest.mark.parametrize("slug", ["", "Ünï", "UPPER", "-x", "x" * 64, "a b", "a\x00", "a\n"])
def test_a_tenant_has_a_plain_slug(slug: str) -> None:
    with pytest.raises(BadRequest):
        tenant_create(slug=slug)


def test_a_slug_is_taken_once(tenant: Tenant) -> None:
    with pytest.raises(Conflict):
        tenant_create(slug=tenant.slug)


@pytest.mark.parametrize("settings", [{"approvals_in_sessions": "no"}, {"default_model": 7}, {"allow_private": 1}])
def test_a_tenants_setting_has_its_type(tenant: Tenant, settings: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        tenant_update(tenant=tenant, settings=settings)


def http(*headers: tuple[bytes, bytes], query: bytes = b"", kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "headers": list(headers), "query_string": query}


@pytest.mark.parametrize(
    ("scope", "secret"),
    [
        (http((b"x-api-key", b"one"), (b"authorization", b"Bearer two")), "one"),
        (http((b"authorization", b"Bearer two")), "two"),
        (http((b"authorization", b"bearer   two  ")), "two"),
        (http((b"x-api-key", b"  "), (b"authorization", b"Bearer two")), "two"),
        (http((b"x-api-key", b"one"), (b"x-api-key", b"two")), "one"),
        (http((b"authorization", b"Basic two")), None),
        (http((b"authorization", b"Bearer")), None),
        (http(query=b"api_key=three"), None),
        (http(query=b"api_key=three", kind="websocket"), "three"),
        (http((b"x-api-key", b"one"), query=b"api_key=three", kind="websocket"), "one"),
        (http(query=b"api_key=&api_key=%ED%A0%80", kind="websocket"), "\ufffd\ufffd\ufffd"),
        (http(), None),
    ],
)
def test_credentials_are_found_in_the_contracts_order(scope: dict[str, Any], secret: str | None) -> None:
    assert secret_from_scope(scope) == secret


PERSON = Principal(0, "acme", None, "ann", frozenset(TENANT_SCOPES), rpm=600)


@pytest.fixture
def ann(tenant: Tenant, settings: Any) -> Principal:
    """A tenant's administrator, without the scope `platform`."""
    settings.GATEWAY_RATE_LIMIT_RPM = 600
    return replace(PERSON, tenant_id=tenant.id)


def test_a_person_issues_no_key_with_more_than_they_have(tenant: Tenant, ann: Principal) -> None:
    with pytest.raises(Forbidden) as refused:
        api_key_issue(tenant=tenant, name="x", scopes=["sessions", "platform"], by=ann)
    assert (refused.value.field, "platform" in refused.value.message) == ("scopes", True)
    for rpm in (0, 601):
        with pytest.raises(Forbidden) as refused:
            api_key_issue(tenant=tenant, name="x", scopes=["sessions"], rpm=rpm, by=ann)
        assert refused.value.field == "rpm"
    assert not ApiKey.objects.exists()
    assert api_key_issue(tenant=tenant, name="x", scopes=["sessions"], rpm=600, by=ann).key.rpm == 600
    assert AuditEntry.objects.get(action="api_key.issue").actor == "user:ann"


def test_a_gateway_without_a_limit_leaves_the_rate_to_its_people(tenant: Tenant, ann: Principal, settings: Any) -> None:
    settings.GATEWAY_RATE_LIMIT_RPM = 0
    assert api_key_issue(tenant=tenant, name="x", scopes=[], rpm=0, by=replace(ann, rpm=0)).key.rpm == 0


def test_a_person_touches_no_key_that_may_do_more_than_they(
    tenant: Tenant, ann: Principal, owner: Caller, stranger: Caller
) -> None:
    for who in (owner, stranger):
        key = key_of(who)
        with pytest.raises(Forbidden):
            api_key_update(key=key, name="x", scopes=["sessions"], rpm=1, expires_at=None, by=ann)
        with pytest.raises(Forbidden):
            api_key_rotate(key=key, by=ann)
        with pytest.raises(Forbidden):
            api_key_revoke(key=key, by=ann)
        assert principal_for_secret(who.secret) == who.principal


def test_a_person_lowers_a_keys_rate_and_does_not_raise_it(tenant: Tenant, ann: Principal) -> None:
    key = api_key_issue(tenant=tenant, name="x", scopes=["sessions"], rpm=50).key

    def change(rpm: int | None, by: Principal | None = ann) -> int | None:
        return api_key_update(key=key, name="x", scopes=["sessions"], rpm=rpm, expires_at=None, by=by).rpm

    for more in (51, 0, None):
        with pytest.raises(Forbidden):
            change(more)
    assert [change(50), change(20)] == [50, 20]
    with pytest.raises(Forbidden):
        change(50)
    # The gateway itself may, and a person may keep or lower what it gave.
    assert [change(0, None), change(0), change(9000)] == [0, 0, 9000]


def test_all_keys_of_a_tenant_share_its_limit(tenant: Tenant, settings: Any) -> None:
    settings.GATEWAY_RATE_LIMIT_RPM, settings.GATEWAY_TENANT_RATE_LIMIT_RPM = 600, 3000
    limits = {rpm: caller(tenant, (), rpm=rpm).principal.tenant_rpm for rpm in (None, 5, 3000, 3001, 0)}
    # An operator who gave a key more than the gateway gives a tenant meant it.
    assert limits == {None: 3000, 5: 3000, 3000: 3000, 3001: 0, 0: 0}
    tenant_update(tenant=tenant, settings={"rpm": 7})
    assert {caller(tenant, (), rpm=rpm).principal.tenant_rpm for rpm in (None, 5, 3001, 0)} == {7}
    tenant_update(tenant=tenant, settings={"rpm": 0})
    assert {caller(tenant, (), rpm=rpm).principal.tenant_rpm for rpm in (None, 5, 3001, 0)} == {0}
    user = User.objects.create_user("ann", tenant=Tenant.objects.get(pk=tenant.pk))
    assert principal_for_user(user).tenant_rpm == 0
