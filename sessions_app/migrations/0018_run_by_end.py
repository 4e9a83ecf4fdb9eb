"""Finds the runs that have ended since retention last looked."""

from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration


class Migration(OnlineMigration):

    atomic = False

    dependencies = [
        ('sessions_app', '0017_removal'),
    ]

    operations = [
        AddIndexOnline(
            model_name='run',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['tenant', 'ended_at'], name='run_by_end'),
        ),
    ]
