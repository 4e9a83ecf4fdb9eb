"""Tokens of embedded chats."""

import core_app.clock
import django.db.models.deletion
from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('tenants_app', '0008_person_identities'),
    ]

    operations = [
        migrations.CreateModel(
            name='EmbedToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(max_length=40, unique=True)),
                ('secret_hash', models.CharField(max_length=64, unique=True)),
                ('end_user', models.CharField(max_length=200)),
                ('agent', models.CharField(blank=True, db_default='', default='', max_length=64)),
                ('model', models.CharField(blank=True, db_default='', default='', max_length=200)),
                ('origins', models.JSONField(default=list)),
                ('approvals', models.BooleanField(db_default=False, default=False)),
                ('created_at', models.DateTimeField(default=core_app.clock.now, editable=False)),
                ('expires_at', models.DateTimeField(db_index=True)),
                ('api_key', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants_app.apikey')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants_app.tenant')),
            ],
        ),
    ]
