"""Erasures mark their sessions, and retention remembers through which run it has looked."""

import django.db.models.deletion
from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('sessions_app', '0016_attachment_by_content'),
        ('tenants_app', '0003_usage_days'),
    ]

    operations = [
        migrations.AddField(
            model_name='agentsession',
            name='erasing_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name='RetentionCursor',
            fields=[
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='tenants_app.tenant')),
                ('ended_at', models.DateTimeField()),
            ],
        ),
    ]
