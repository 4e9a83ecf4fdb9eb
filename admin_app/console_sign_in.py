"""The console's pages that need no role: sign in, sign out, and the choice of the tenant.

They belong here and not to the console, because the admin and the cookies of the API depend on them.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST

from admin_app.access import no_tenant_page, person_of, user_of
from admin_app.sign_in import ThrottledForm, oidc_name
from admin_app.sign_in_throttle import browser_mark
from admin_app.sign_out import sign_out_person
from core_app.database import write_transaction
from core_app.errors import Forbidden, Unauthorized
from tenants_app.models import User
from tenants_app.people import TENANT_KEY, tenant_choose, tenants_of
from tenants_app.services import audit_record
from tenants_app.services.key_cache_invalidate import keys_forget

CONSOLE = "/console/"


class SignIn(LoginView):
    """GET and POST /console/sign-in: user name and password. `next` is a path of the gateway."""

    form_class = ThrottledForm
    template_name = "admin_app/console/sign_in.html"
    next_page = CONSOLE
    extra_context = {"oidc_name": oidc_name()}

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        user = form.get_user()
        audit_record(actor=f"user:{user.get_username()}", action="console.login", tenant_id=user.tenant_id)
        browser_mark(self.request, response, user.get_username())
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        if form.wait:
            response.status_code = 429
            response["Retry-After"] = str(form.wait)
        return response


@require_POST
@csrf_protect
@never_cache
def sign_out(request: HttpRequest) -> HttpResponseBase:
    """POST /console/sign-out: ends the session, and what is open with it."""
    sign_out_person(request, "console")
    return HttpResponseRedirect(reverse("console-sign-in"))


@require_POST
@csrf_protect
@never_cache
def tenant_switch(request: HttpRequest) -> HttpResponseBase:
    """POST /console/tenant with the fields `tenant`, a slug, and `next`: works in that tenant from now on. What is open
    in the tenant before ends. A tenant in which the person has no role is answered like an unknown one."""
    user = user_of(request)
    if user is None:
        return HttpResponseRedirect(reverse("console-sign-in"))
    tenant = tenant_choose(user, request.POST.get("tenant", "")[:63])
    if tenant is None:
        return render(request, "admin_app/console/tenant.html", {**_choice(user), "unknown": True}, status=404)
    if request.session.get(TENANT_KEY) != tenant.pk:
        with write_transaction():
            request.session[TENANT_KEY] = tenant.pk
            request.session.save()
            actor = f"user:{user.get_username()}"
            audit_record(actor=actor, action="console.tenant", target=tenant.slug, tenant_id=tenant.pk)
            keys_forget()
    return HttpResponseRedirect(_safe_next(request, request.POST.get("next", "")))


@require_GET
@never_cache
def tenant_page(request: HttpRequest) -> HttpResponseBase:
    """GET /console/tenant: the tenants to choose from."""
    try:
        person = person_of(request)
    except Unauthorized:
        return HttpResponseRedirect(f"{reverse('console-sign-in')}?next={request.path}")
    except Forbidden:
        return no_tenant_page(request)
    choice = _choice(person.user)
    return render(request, "admin_app/console/tenant.html", {**choice, "person": person})


def tenant(request: HttpRequest) -> HttpResponseBase:
    """Serves /console/tenant by method."""
    view = tenant_switch if request.method == "POST" else tenant_page
    return view(request)


def _choice(user: User) -> dict[str, Any]:
    return {"tenants": tenants_of(user), "by_slug": user.is_superuser}


def _safe_next(request: HttpRequest, address: str) -> str:
    good = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if good else CONSOLE


urlpatterns: list[URLPattern] = [
    path("console/sign-in", method_decorator(never_cache, name="dispatch")(SignIn).as_view(), name="console-sign-in"),
    path("console/sign-out", sign_out, name="console-sign-out"),
    path("console/tenant", tenant, name="console-tenant"),
]

if settings.GATEWAY_OIDC_ISSUER:
    # Loads the library.
    urlpatterns += import_string("admin_app.oidc.views.urlpatterns")
