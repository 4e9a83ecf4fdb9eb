"""Retention, erasure and export of stored responses and conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet

from core_app import clock, jsontext
from events_app.removal import GoOn
from responses_app.conversations import conversation_history, conversation_to_wire, conversations_remove
from responses_app.models import UNFINISHED, Conversation, Kind, StoredResponse
from responses_app.services import responses_remove
from responses_app.settlement import responses_reconcile
from responses_app.wire import response_to_wire
from sessions_app.dependents import Dependent
from sessions_app.export import export_line
from sessions_app.services.retention import retention_days
from tenants_app.models import Tenant

BATCH = 100
ACTOR = "system"


class ResponsesDependent(Dependent):
    """The part that responses take in the sweep, in retention, in erasure and in exports."""

    def sweep(self, go_on: GoOn) -> None:
        """Settles responses whose run ended without them."""
        responses_reconcile(go_on)

    def retention_apply(self, tenant: Tenant, go_on: GoOn) -> None:
        """Removes finished responses and conversations that are older than responses are kept."""
        if (days := retention_days(tenant, "responses")) > 0:
            before = clock.now() - timedelta(days=days)
            old = StoredResponse.objects.filter(tenant=tenant, updated_at__lt=before).exclude(status__in=UNFINISHED)
            _remove(old, go_on)
            _remove_conversations(Conversation.objects.filter(tenant=tenant, updated_at__lt=before), go_on)

    def tenant_erase(self, tenant: Tenant) -> None:
        """Cancels and removes all responses of the tenant, and its conversations."""
        _remove(StoredResponse.objects.filter(tenant=tenant))
        _remove_conversations(Conversation.objects.filter(tenant=tenant))

    def end_user_erase(self, tenant_id: int, end_user: str) -> None:
        """Cancels and removes the responses that were made for the end user, with the conversations that they are in,
        and those that the end user made."""
        # First, because responses say in which conversations the end user spoke.
        _remove_conversations(conversations_of(tenant_id, end_user))
        _remove(responses_of(tenant_id, end_user))

    def export(self, tenant_id: int, end_user: str | None) -> Iterator[bytes]:
        """Yields responses and conversations, oldest first."""
        theirs, talks = responses_of(tenant_id, end_user), conversations_of(tenant_id, end_user)
        for pk in list(theirs.order_by("pk").values_list("pk", flat=True)):
            if (row := StoredResponse.objects.filter(pk=pk).first()) is not None:
                items = jsontext.decode(row.input)
                yield export_line("response", {**_exported(row), "input": items, "endUser": row.end_user})
        for pk in list(talks.order_by("pk").values_list("pk", flat=True)):
            if (talk := Conversation.objects.filter(pk=pk).first()) is not None:
                history = jsontext.decode(conversation_history(talk.pk, talk.last_number))
                yield export_line("conversation", {**conversation_to_wire(talk), "items": history})


def _exported(row: StoredResponse) -> Mapping[str, Any]:
    if row.kind == Kind.RESPONSES:
        return response_to_wire(row)
    shown = {"id": row.public_id, "object": row.kind, "model": row.model, "status": row.status}
    return {**shown, "output": jsontext.decode(row.output)}


def responses_of(tenant_id: int, end_user: str | None) -> QuerySet[StoredResponse]:
    """Returns the responses of the tenant, or those that were made for one end user."""
    rows = StoredResponse.objects.filter(tenant_id=tenant_id)
    return rows if end_user is None else rows.filter(end_user=end_user)


def conversations_of(tenant_id: int, end_user: str | None) -> QuerySet[Conversation]:
    """Returns the conversations of the tenant, or those that one end user made or has responses in."""
    rows = Conversation.objects.filter(tenant_id=tenant_id)
    if end_user is None:
        return rows
    spoken = responses_of(tenant_id, end_user).filter(conversation__isnull=False).values("conversation_id")
    return rows.filter(Q(end_user=end_user) | Q(pk__in=spoken))


def _remove_conversations(rows: QuerySet[Conversation], go_on: GoOn = lambda: True) -> None:
    while go_on() and (keys := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])):
        conversations_remove(keys)


def _remove(rows: QuerySet[StoredResponse], go_on: GoOn = lambda: True) -> None:
    while go_on() and (found := list(rows.order_by("pk")[:BATCH])):
        responses_remove(found, actor=ACTOR)
