"""The admin's page of providers: all that are in force, with sources and states, their forms and tests."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from admin_app.access import actor_of
from admin_app.site import SITE
from inference_app.catalogue.config import models_config
from inference_app.models import Provider
from inference_app.operator.admin_base import OperatorSettingAdmin
from inference_app.operator.provider_form import ProviderForm
from inference_app.operator.provider_test import provider_test_now
from inference_app.operator.providers_in_force import providers_in_force
from inference_app.operator.services import provider_save

MAX_MODEL = 200


@admin.register(Provider, site=SITE)
class ProviderAdmin(OperatorSettingAdmin):
    """Providers in force; those of the database can be changed, and take precedence over the file's."""

    form = ProviderForm
    list_display = ("name", "enabled", "has_key", "updated_at")
    change_list_template = "admin/inference_app/provider/change_list.html"
    change_form_template = "admin/inference_app/provider/change_form.html"
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "key", "enabled")}),
        ("A provider of your own", {"fields": ("base_url", "wire", "models", "default_model", "no_key")}),
        ("More", {"fields": ("api_key_env", "entry")}),
    )

    @admin.display(boolean=True, description="key")
    def has_key(self, provider: Provider) -> bool:
        """True if a key is stored."""
        return bool(provider.sealed_key)

    def get_urls(self) -> list[Any]:
        test = self.admin_site.admin_view(self.test_view)
        return [path("test/", test, name="inference_app_provider_test"), *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        if obj is None or not obj.sealed_key:
            return self.fieldsets
        return ((None, {"fields": ("name", "key", "forget_key", "enabled")}), *self.fieldsets[1:])

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        # Django would look for the form's own fields among those of the model.
        kwargs["fields"] = ("name", "enabled", "entry")
        return super().get_form(request, obj, change=change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        return ()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"in_force": providers_in_force(), **(extra_context or {})}
        return super().changelist_view(request, shown)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        provider_save(provider=obj, actor=actor_of(request), key=form.stored_key)

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Asks a provider for a few tokens, and shows what came of it on the page from which it was asked."""
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        name, model = request.POST.get("provider", ""), request.POST.get("model", "").strip()[:MAX_MODEL]
        if name not in models_config().providers:
            raise Http404
        result = provider_test_now(name, model=model or None)
        (messages.success if result.ok else messages.error)(request, result.text)
        row = Provider.objects.filter(name=name).first() if request.POST.get("from_page") else None
        place = "changelist" if row is None else "change"
        arguments = [] if row is None else [row.pk]
        return HttpResponseRedirect(reverse(f"admin:inference_app_provider_{place}", args=arguments))
