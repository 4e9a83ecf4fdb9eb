"""People and their tenants: what a person may do where, and which person a browser's session belongs to.

A superuser may do everything in every tenant. Others have roles (`Membership`), and scopes of their own in the tenant
of their row. The tenant in which a signed-in person works is kept in the Django session, under TENANT_KEY.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from tenants_app.models import Membership, Tenant, User
from tenants_app.principal import DEFAULT_TENANT, SCOPES
from tenants_app.roles import ROLES

TENANT_KEY = "gateway_tenant"
"""The id of the chosen tenant in the Django session."""

MAX_TENANTS = 1_000
"""Tenants that a superuser may choose from in a list; others are chosen by their slug."""


def grant_in(user: User, tenant: Tenant) -> frozenset[str] | None:
    """Returns the scopes that a person has in a tenant; None for nobody of the tenant, and for a person or a tenant
    that is disabled."""
    if not user.is_active or tenant.disabled_at is not None:
        return None
    if user.is_superuser:
        return frozenset(SCOPES)
    roles = list(Membership.objects.filter(user_id=user.pk, tenant_id=tenant.pk).values_list("role", flat=True))
    if user.tenant_id != tenant.pk and not roles:
        return None
    own = user.scopes if user.tenant_id == tenant.pk else ()
    # A role that this version does not know, because a newer one gave it, allows nothing.
    return frozenset(own).union(*(ROLES.get(role, ()) for role in roles))


def tenants_of(user: User) -> list[Tenant]:
    """Returns the tenants that a person may choose, by their slugs; a superuser's are at most MAX_TENANTS."""
    found = Tenant.objects.filter(disabled_at=None).order_by("slug")
    if not user.is_superuser:
        found = found.filter(Q(pk=user.tenant_id) | Q(memberships__user_id=user.pk)).distinct()
    return list(found[:MAX_TENANTS])


def tenant_choose(user: User, slug: str) -> Tenant | None:
    """Returns the tenant with a slug when the person may work in it, else None."""
    tenant = Tenant.objects.filter(slug=slug).first()
    return tenant if tenant is not None and grant_in(user, tenant) is not None else None


def home_of(user: User) -> Tenant | None:
    """Returns the tenant in which a person works who has not chosen one: that of the person's row, else the first in
    which the person has a role; for a superuser `default`, else the first. None for a person without any."""
    if user.tenant is not None and user.tenant.disabled_at is None:
        return user.tenant
    if user.is_superuser:
        found = Tenant.objects.filter(disabled_at=None)
        return found.filter(slug=DEFAULT_TENANT).first() or found.order_by("slug").first()
    held = Membership.objects.select_related("tenant").filter(user_id=user.pk, tenant__disabled_at=None)
    membership = held.order_by("tenant__slug").first()
    return None if membership is None else membership.tenant


def tenant_in(user: User, chosen: object) -> Tenant | None:
    """Returns the tenant that a session names, when the person may still work in it, else the person's home."""
    if isinstance(chosen, int):
        tenant = Tenant.objects.filter(pk=chosen).first()
        if tenant is not None and grant_in(user, tenant) is not None:
            return tenant
    return home_of(user)


def browser_holder(session_key: str) -> tuple[User, Tenant] | None:
    """Returns the person who is signed in with a Django session, and the tenant chosen there. None when the session is
    unknown, has expired or was given by another password, and for a person without a tenant."""
    session = _session_load(session_key)
    user_id = session.get(SESSION_KEY)
    if not isinstance(user_id, str) or not user_id.isdecimal():
        return None
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = User.objects.select_related("tenant").filter(pk=int(user_id)).first()
    if user is None or not _hash_is_good(user, str(session.get(HASH_SESSION_KEY, ""))):
        return None
    tenant = tenant_in(user, session.get(TENANT_KEY))
    return None if tenant is None else (user, tenant)


def _session_load(session_key: str) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return store


def _hash_is_good(user: User, shown: str) -> bool:
    """True for the hash of the person's password, under the secret key or a former one. Django would renew the session
    of a former one here, whose new key this browser never got."""
    hashes: Iterable[str] = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return any(constant_time_compare(shown, known) for known in hashes)
