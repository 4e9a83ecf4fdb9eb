"""Finds the runs that have ended since retention last looked."""

from django.db import migrations, models

from core_app.schema import AddIndexConcurrently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('sessions_app', '0014_removal'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['tenant', 'ended_at'], name='run_by_end'),
        ),
    ]
