"""Admin section of people's roles in tenants. Changes go through the services.

Superusers give roles to anybody. A tenant's administrators give them to the people of their tenant, and none that may
do more than they; a name of nobody there is answered like one that does not exist.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest

from admin_app.access import actor_of, principal_in, tenant_of
from admin_app.site import SITE
from admin_app.tables import TenantFilter, TenantModelAdmin
from tenants_app.models import Membership, Tenant, User
from tenants_app.principal import ADMIN
from tenants_app.roles import ROLES
from tenants_app.services.membership import role_give, role_take


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a role. The person is named, because a list of everybody would be long."""

    username = forms.CharField(max_length=150, label="User name")
    role = forms.ChoiceField(choices=[(role, role) for role in ROLES])
    own_tenant: Tenant | None = None
    """The tenant of an administrator; None for a superuser. Each request has a subclass of its own."""

    class Meta:
        model = Membership
        fields = ("tenant", "role")

    def clean_username(self) -> str:
        """Finds the person, and keeps it for `save_model`."""
        name = self.cleaned_data["username"]
        people = User.objects.filter(username=name)
        if (tenant := self.own_tenant) is not None:
            people = people.filter(Q(tenant=tenant) | Q(memberships__tenant=tenant))
        user = people.first()
        if user is None:
            raise forms.ValidationError("There is nobody of this name.")
        self.instance.user = user
        return str(name)


@admin.register(Membership, site=SITE)
class MembershipAdmin(TenantModelAdmin):
    """The list of roles. One is given and taken; giving it again replaces it."""

    form = MembershipForm
    change_scopes = (ADMIN,)
    list_display = ("user", "tenant", "role", "source", "created_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant", "user")
    search_fields = ("user__username", "tenant__slug")

    @admin.display(description="from")
    def source(self, membership: Membership) -> str:
        """The giver of the role."""
        return "identity provider" if membership.from_claims else "people here"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change=change, **kwargs)
        return type(made.__name__, (made,), {"own_tenant": tenant_of(request)})

    def get_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        return ("username", "tenant", "role") if obj is None else ("user", "tenant", "role", "source", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, None)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        by = None if tenant_of(request) is None else principal_in(request, obj.tenant)
        given = role_give(user=obj.user, tenant=obj.tenant, role=obj.role, actor=actor_of(request), by=by)
        obj.pk = given.pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        by = None if tenant_of(request) is None else principal_in(request, obj.tenant)
        role_take(membership=obj, actor=actor_of(request), by=by)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for membership in queryset.select_related("tenant", "user"):
            self.delete_model(request, membership)
