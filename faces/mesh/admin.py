"""Admin sections for tasks, spaces and routing rules.

Tasks and spaces are for looking, and for actions that call the same services as the API. Rules are edited here, by a
tenant's administrators for their tenant, and by the operator for all.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import actor_of, may, tenant_of
from admin_app.site import SITE, Section
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter, TenantModelAdmin
from admin_app.templatetags.gateway_numbers import badge, group_digits
from core_app import jsontext
from core_app.errors import Conflict
from faces.mesh.errors import CANCELLED
from faces.mesh.models import RoutingRule, Space, Task, TaskRun, TaskStatus
from faces.mesh.removal import space_remove
from faces.mesh.rules import MAX_KEYWORDS
from faces.mesh.task_stop import task_stop
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN, OPERATOR, TASKS_READ
from tenants_app.services import audit_record

_SHOWN = 200


class StatusFilter(admin.SimpleListFilter):
    """Filter for tasks by status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, status.value) for status in TaskStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        if not self.value():
            return queryset
        # The index of statuses begins with the tenant.
        return queryset.filter(status=self.value(), tenant_id__in=Tenant.objects.values("pk"))


@admin.register(Task, site=SITE)
class TaskAdmin(ReadOnlyModelAdmin):
    """The list of tasks, each with its agents, sessions and result."""

    view_scopes = (TASKS_READ, OPERATOR)
    list_display = ("public_id", "status_badge", "tenant", "agent_names", "created_at", "updated_at")
    list_filter = (StatusFilter, TenantFilter)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole task id."
    fields = (
        *("public_id", "tenant", "status_badge", "agent_names", "session_names", "space", "pipeline_id", "step"),
        *("prompt", "result_text", "error_code", "error_message", "created_at", "updated_at", "deadline_at"),
    )
    readonly_fields = fields
    actions = ("cancel",)

    @admin.display(description="status")
    def status_badge(self, task: Task) -> SafeString:
        """The status, coloured."""
        return badge(task.status)

    @admin.display(description="agents")
    def agent_names(self, task: Task) -> str:
        """The agents on one line."""
        return ", ".join(jsontext.decode(task.agents))

    @admin.display(description="sessions")
    def session_names(self, task: Task) -> str:
        """The ids of the agents' sessions."""
        rows = TaskRun.objects.filter(task=task, session_id__isnull=False).order_by("number")
        return ", ".join(str(name) for name in rows.values_list("session_id", flat=True))

    @admin.display(description="result")
    def result_text(self, task: Task) -> SafeString:
        """The result as it is stored."""
        return format_html("<pre>{}</pre>", task.result or "")

    @admin.action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Cancels the chosen tasks and stops what runs for them."""

        def act(task: Task, text: str) -> str:
            if not task_stop(task, code=CANCELLED, message=text or "The task was cancelled by an operator."):
                raise Conflict("The task has already ended.")
            audit_record(actor=actor_of(request), action="task.cancel", target=task.public_id, tenant_id=task.tenant_id)
            return f"{task.public_id} is cancelled."

        question = Confirmation(
            "cancel", "Cancel tasks", "What runs for these tasks is stopped.", "Cancel the tasks", prompt="Reason"
        )
        return self.confirm_action(request, queryset, question, act)


@admin.register(Space, site=SITE)
class SpaceAdmin(ReadOnlyModelAdmin):
    """The list of spaces."""

    view_scopes = (TASKS_READ, OPERATOR)
    list_display = ("public_id", "tenant", "message_count", "artifact_count", "size", "updated_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole space id."
    fields = ("public_id", "tenant", "metadata", "message_count", "artifact_count", "size", "created_at", "updated_at")
    readonly_fields = fields
    actions = ("erase",)

    @admin.display(description="bytes")
    def size(self, space: Space) -> str:
        """The bytes of messages and artifacts."""
        return group_digits(space.bytes)

    @admin.action(description="Erase", permissions=("erase",))
    def erase(self, request: HttpRequest, queryset: QuerySet[Space]) -> HttpResponse | None:
        """Removes the chosen spaces with their messages and files."""

        def act(space: Space, text: str) -> str:
            name, tenant_id = space.public_id, space.tenant_id
            space_remove(space)
            audit_record(actor=actor_of(request), action="space.erase", target=name, tenant_id=tenant_id)
            return f"{name} is erased."

        question = Confirmation("erase", "Erase spaces", "Their messages and files are removed for good.", "Erase")
        return self.confirm_action(request, queryset, question, act)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """True for administrators of the tenant."""
        return may(request, ADMIN)


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    widget = forms.Textarea(attrs={"rows": 5, "cols": 60})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        text: str = super().clean(value)
        lines = list(dict.fromkeys(line.strip()[:_SHOWN] for line in text.splitlines() if line.strip()))
        if len(lines) > MAX_KEYWORDS:
            raise forms.ValidationError(f"At most {MAX_KEYWORDS} lines.")
        if self.required and not lines:
            raise forms.ValidationError("At least one line.")
        return lines

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a rule."""

    keywords = LinesField(help_text="One a line. Whole words; in Chinese, Japanese and Thai any part of the text.")
    agents = LinesField(help_text="Ids of agents, one a line, in the order of preference.")
    broadcast = forms.BooleanField(required=False, help_text="To all of them; otherwise to the first that is able.")
    priority = forms.IntegerField(initial=0, min_value=-1000, max_value=1000, help_text="The highest comes first.")

    class Meta:
        model = RoutingRule
        fields = ("tenant", "name", "keywords", "agents", "broadcast", "priority", "enabled")


@admin.register(RoutingRule, site=SITE)
class RoutingRuleAdmin(TenantModelAdmin):
    """The list of rules."""

    form = RuleForm
    change_scopes = (ADMIN,)
    list_display = ("name", "tenant", "keyword_list", "agent_list", "broadcast", "priority", "enabled")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    ordering = ("-priority", "id")
    fields = RuleForm.Meta.fields

    @admin.display(description="keywords")
    def keyword_list(self, rule: RoutingRule) -> str:
        """The keywords on one line."""
        return ", ".join(rule.keywords)[:_SHOWN]

    @admin.display(description="agents")
    def agent_list(self, rule: RoutingRule) -> str:
        """The agents on one line."""
        return ", ".join(rule.agents)[:_SHOWN]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            # Without a tenant a rule is everybody's, which only the operator makes.
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk, "required": True}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = self.has_change_permission(request, obj)
        return allowed

    def save_model(self, request: HttpRequest, obj: RoutingRule, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        self._record(request, obj, "update" if change else "create")

    def delete_model(self, request: HttpRequest, obj: RoutingRule) -> None:
        self._record(request, obj, "delete")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RoutingRule]) -> None:
        for rule in queryset:
            self.delete_model(request, rule)

    def _record(self, request: HttpRequest, rule: RoutingRule, what: str) -> None:
        detail = {"keywords": rule.keywords, "agents": rule.agents, "priority": rule.priority, "enabled": rule.enabled}
        audit_record(
            actor=actor_of(request),
            action=f"routing_rule.{what}",
            target=rule.name,
            tenant_id=rule.tenant_id,
            detail=detail,
        )


SITE.section_add(Section("Tasks", rank=2, entries={"Task": None, "Space": None, "RoutingRule": "Routing rules"}))
