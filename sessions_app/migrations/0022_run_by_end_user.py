"""Finds whether a session has a run of an end user."""

from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):

    atomic = False

    dependencies = [
        ('sessions_app', '0021_message_of_system'),
    ]

    operations = [
        AddIndexOnline(
            model_name='run',
            index=models.Index(condition=models.Q(('end_user__isnull', False)), fields=['session', 'end_user'], name='run_by_end_user'),
        ),
    ]
