"""The signed-in person of a request, and access rules: superusers may do everything, others what their role allows.

Admin and console share them. Django's own groups and permissions are not used: a person's rights are the scopes that
the API's keys have, by roles (`tenants_app.roles`) and scopes of the person's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.http.response import HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode

from core_app.errors import Forbidden, Unauthorized
from tenants_app.authentication import principal_for_user
from tenants_app.models import Tenant, User
from tenants_app.people import TENANT_KEY, tenant_in
from tenants_app.principal import SCOPES, Principal
from tenants_app.roles import role_of, role_reaches

View = Callable[..., HttpResponseBase]

_KEPT = "_gateway_person"
"""Attribute of the request that keeps its person: pages ask dozens of times."""

_KEPT_ADMITTED = "_gateway_admitted"
"""Attribute of the request that keeps the person who was last asked for a role, and whether there is one."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in, in the tenant that is chosen.

    `role` is viewer, reviewer, operator or admin; None for a person whose own scopes do not even read sessions. The
    principal is the one that the API gives to the same cookie, but for the session's key.
    """

    user: User
    tenant: Tenant
    role: str | None
    principal: Principal

    def reaches(self, role: str) -> bool:
        """True when the person has the role or one above it."""
        return role_reaches(self.role, role)


def user_of(request: HttpRequest) -> User | None:
    """The signed-in user, or `None`."""
    user = request.user
    return user if isinstance(user, User) and user.is_active else None


def person_of(request: HttpRequest) -> Person:
    """Returns the signed-in person with tenant, role and principal; asked once per request.

    Raises Unauthorized for nobody, and Forbidden for a person without a tenant.
    """
    user = user_of(request)
    if user is None:
        raise Unauthorized("Nobody is signed in.")
    kept = getattr(request, _KEPT, None)
    if isinstance(kept, Person) and kept.user.pk == user.pk:  # a sign-in changes the user within a request
        return kept
    tenant = tenant_in(user, request.session.get(TENANT_KEY))
    if tenant is None:
        raise Forbidden("This person has no tenant here.")
    try:
        principal = principal_for_user(user, tenant)
    except Unauthorized:
        raise Forbidden("This person has no tenant here.") from None
    person = Person(user, tenant, role_of(principal), principal)
    setattr(request, _KEPT, person)
    return person


def console_required(role: str) -> Callable[[View], View]:
    """Decorates a Django view for people with `role` or a higher one in their tenant; the view calls `person_of`.

    Nobody signed in: a redirect to /console/sign-in, which leads back. A person without a tenant: the page that says
    whom to ask (403). A lower role: a page that names the role that is needed (403). Responses are not cached.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def serve_person(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            response = _refusal(request, role) or view(request, *args, **kwargs)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return serve_person

    return decorate


def _refusal(request: HttpRequest, role: str) -> HttpResponseBase | None:
    try:
        person = person_of(request)
    except Unauthorized:
        back = request.get_full_path() if request.method in ("GET", "HEAD") else ""
        return HttpResponseRedirect(f"{reverse('console-sign-in')}{'?' + urlencode({'next': back}) if back else ''}")
    except Forbidden:
        return no_tenant_page(request)
    if person.reaches(role):
        return None
    return render(request, "admin_app/console/role.html", {"person": person, "needed": role}, status=403)


def no_tenant_page(request: HttpRequest) -> HttpResponseBase:
    """Returns the page for a person who is signed in and has no tenant."""
    return render(request, "admin_app/console/no_tenant.html", {"name": request.user.get_username()}, status=403)


def actor_of(request: HttpRequest) -> str:
    """The signed-in user as the actor of audit entries."""
    user = user_of(request)
    return "nobody" if user is None else f"user:{user.get_username()}"


def has_access(request: HttpRequest) -> bool:
    """True for people whom the admin lets in: superusers, staff of a tenant that is not disabled, and people with a
    role."""
    user = user_of(request)
    if user is None:
        return False
    if user.is_superuser:
        return user.is_staff
    person = _person(request)
    return person is not None and (user.is_staff or _has_role(request, person))


def may_enter(user: User) -> bool:
    """True for people who may sign in to the admin: staff, and people with a role in any tenant."""
    return user.is_staff or user.memberships.exists()


def tenant_of(request: HttpRequest) -> Tenant | None:
    """The tenant whose rows the signed-in person sees; `None` for a superuser, who sees all tenants."""
    user = user_of(request)
    if user is None or user.is_superuser:
        return None
    person = _person(request)
    return user.tenant if person is None else person.tenant


def may(request: HttpRequest, *scopes: str) -> bool:
    """True when the signed-in person holds one of the scopes; a superuser holds all."""
    user = user_of(request)
    if user is None or not has_access(request):
        return False
    if user.is_superuser:
        return True
    person = _person(request)
    return person is not None and any(person.principal.allows(scope) for scope in scopes)


def principal_in(request: HttpRequest, tenant: Tenant) -> Principal:
    """The principal for the signed-in person's acts in `tenant`. A superuser has every scope in every tenant.

    Raises Unauthorized for a person of another tenant.
    """
    user = user_of(request)
    if user is not None and user.is_superuser:
        return Principal(
            tenant_id=tenant.pk,
            tenant_slug=tenant.slug,
            key_id=None,
            key_name=user.get_username(),
            scopes=frozenset(SCOPES),
            user_id=user.pk,
            allow_private=tenant.allow_private,
            default_model=tenant.default_model,
            default_agent=tenant.default_agent,
        )
    person = _person(request)
    if person is None or person.tenant.pk != tenant.pk:
        raise Unauthorized("This user does not belong to the tenant.")
    return person.principal


def _has_role(request: HttpRequest, person: Person) -> bool:
    """True when somebody gave the person a role in the tenant; asked once per request."""
    kept = getattr(request, _KEPT_ADMITTED, None)
    if kept is None or kept[0] is not person:
        kept = (person, person.user.memberships.filter(tenant=person.tenant).exists())
        setattr(request, _KEPT_ADMITTED, kept)
    return bool(kept[1])


def _person(request: HttpRequest) -> Person | None:
    try:
        return person_of(request)
    except (Unauthorized, Forbidden):
        return None
