"""Access rules of the admin: superusers may do everything, a tenant's staff what their scopes allow in the tenant.

Django's own groups and permissions are not used: a person's rights are the scopes that the console and the API use.
"""

from __future__ import annotations

from django.http import HttpRequest

from core_app.errors import Unauthorized
from tenants_app.authentication import principal_for_user
from tenants_app.models import Tenant, User
from tenants_app.principal import SCOPES, Principal


def user_of(request: HttpRequest) -> User | None:
    """The signed-in user, or `None`."""
    user = request.user
    return user if isinstance(user, User) else None


def actor_of(request: HttpRequest) -> str:
    """The signed-in user as the actor of audit entries."""
    user = user_of(request)
    return "nobody" if user is None else f"user:{user.get_username()}"


def has_access(request: HttpRequest) -> bool:
    """True for active staff: superusers, and users of a tenant that is not disabled."""
    user = user_of(request)
    if user is None or not user.is_active or not user.is_staff:
        return False
    return user.is_superuser or (user.tenant is not None and user.tenant.disabled_at is None)


def tenant_of(request: HttpRequest) -> Tenant | None:
    """The tenant that the signed-in person is bound to; `None` for a superuser, who sees all tenants."""
    user = user_of(request)
    return None if user is None or user.is_superuser else user.tenant


def may(request: HttpRequest, *scopes: str) -> bool:
    """True when the signed-in person holds one of the scopes; a superuser holds all."""
    user = user_of(request)
    if user is None or not has_access(request):
        return False
    return user.is_superuser or any(principal_for_user(user).allows(scope) for scope in scopes)


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
    if user is None or user.tenant_id != tenant.pk:
        raise Unauthorized("This user does not belong to the tenant.")
    return principal_for_user(user)
