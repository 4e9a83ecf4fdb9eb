"""Lists the calls of a tenant that wait for a person."""

from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):

    atomic = False

    dependencies = [
        ('tools_app', '0009_remembered_index'),
    ]

    operations = [
        AddIndexOnline(
            model_name='toolcall',
            index=models.Index(condition=models.Q(('state__in', ['awaiting_approval', 'awaiting_answer'])), fields=['tenant', 'expires_at', 'id'], name='call_for_people'),
        ),
    ]
