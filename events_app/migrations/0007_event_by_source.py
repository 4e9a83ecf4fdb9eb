"""Finds the pointers of a group to a session's events without reading the group's log."""

from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):

    atomic = False

    dependencies = [
        ('events_app', '0006_generations'),
    ]

    operations = [
        AddIndexOnline(
            model_name='event',
            index=models.Index(condition=models.Q(('source__isnull', False)), fields=['source', 'source_offset'], name='event_by_source'),
        ),
    ]
