"""Finds a session's system messages, which every leg of a long session looks for."""

from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):

    atomic = False

    dependencies = [
        ('sessions_app', '0020_message_call_id'),
    ]

    operations = [
        AddIndexOnline(
            model_name='message',
            index=models.Index(condition=models.Q(('role', 'system')), fields=['session'], name='message_of_system'),
        ),
    ]
