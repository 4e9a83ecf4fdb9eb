"""The index by which a call finds the remembered approval of its tool. It has remembered decisions only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):
    atomic = False

    dependencies = [("tools_app", "0008_remembered_approvals")]

    operations = [
        AddIndexOnline(
            model_name="toolcall",
            index=models.Index(name="call_remembered", fields=["stream", "tool_name"], condition=Q(remembered=True)),
        )
    ]
