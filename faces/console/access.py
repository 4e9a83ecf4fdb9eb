"""Who visits: the signed-in person as the principal of services and selectors."""

from __future__ import annotations

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse

from admin_app.access import principal_in
from core_app.errors import Forbidden
from tenants_app.models import Tenant, User
from tenants_app.principal import DEFAULT_TENANT, Principal

SIGN_IN = "/admin/login/"


def visitor(request: HttpRequest) -> Principal | None:
    """Returns the signed-in person's principal; None when nobody is signed in. Raises Forbidden for a person who
    belongs to no tenant."""
    user = request.user
    if not isinstance(user, User) or not user.is_active:
        return None
    tenant = user.tenant
    if tenant is None and user.is_superuser:
        tenant = Tenant.objects.filter(slug=DEFAULT_TENANT).first()
    if tenant is None or tenant.disabled_at is not None:
        raise Forbidden("You are signed in, but belong to no tenant that is open. Ask your administrator for access.")
    return principal_in(request, tenant)


def sign_in_redirect(request: HttpRequest) -> HttpResponse:
    """Returns the way to the sign-in page and back."""
    return redirect_to_login(request.get_full_path(), SIGN_IN)
