"""Retention, erasure and export of threads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import QuerySet

from core_app import clock, jsontext
from events_app.removal import GoOn
from responses_app.threads.models import MessageThread
from responses_app.threads.services import threads_remove
from sessions_app.dependents import Dependent
from sessions_app.export import export_line
from sessions_app.services.retention import retention_days
from tenants_app.models import Tenant

BATCH = 100


class ThreadsDependent(Dependent):
    """The part that threads take in retention, in erasure and in exports. They are kept as long as responses."""

    def retention_apply(self, tenant: Tenant, go_on: GoOn) -> None:
        """Removes threads that nobody has continued for as long as responses are kept."""
        if (days := retention_days(tenant, "responses")) > 0:
            before = clock.now() - timedelta(days=days)
            _remove(MessageThread.objects.filter(tenant=tenant, updated_at__lt=before), go_on)

    def tenant_erase(self, tenant: Tenant) -> None:
        """Removes all threads of the tenant."""
        _remove(MessageThread.objects.filter(tenant=tenant))

    def end_user_erase(self, tenant_id: int, end_user: str) -> None:
        """Removes the threads that were made for the end user."""
        _remove(threads_of(tenant_id, end_user))

    def export(self, tenant_id: int, end_user: str | None) -> Iterator[bytes]:
        """Yields a line for each turn: threads oldest first, and the turns of each in their order."""
        for pk in list(threads_of(tenant_id, end_user).order_by("pk").values_list("pk", flat=True)):
            if (thread := MessageThread.objects.filter(pk=pk).first()) is None:
                continue
            about = {"thread": thread.public_id, "endUser": thread.end_user}
            context = {name: jsontext.decode(text) for name, text in jsontext.decode(thread.context).items()}
            for turn in thread.turns.order_by("number").iterator(chunk_size=BATCH):
                said = {"messages": jsontext.decode(turn.messages), "content": jsontext.decode(turn.reply)}
                first = context if turn.number == 1 else {}
                yield export_line("message", {**jsontext.decode(turn.body), **about, **first, **said})


def threads_of(tenant_id: int, end_user: str | None) -> QuerySet[MessageThread]:
    """Returns the threads of the tenant, or those that were made for one end user."""
    rows = MessageThread.objects.filter(tenant_id=tenant_id)
    return rows if end_user is None else rows.filter(end_user=end_user)


def _remove(rows: QuerySet[MessageThread], go_on: GoOn = lambda: True) -> None:
    while go_on() and (keys := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])):
        threads_remove(keys)
