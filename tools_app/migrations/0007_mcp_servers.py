"""MCP servers of tenants, the states of all, and the number of attachments of a call's result."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

import core_app.clock
from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [
        ('tenants_app', '0006_key_prefix'),
        ('tools_app', '0006_call_for_agent'),
    ]

    operations = [
        migrations.AddField(
            model_name='toolcall',
            name='media',
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name='McpServer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40)),
                ('url', models.TextField()),
                ('description', models.CharField(blank=True, default='', max_length=200)),
                ('auth', models.CharField(default='none', max_length=8)),
                ('header_names', models.JSONField(default=list)),
                ('sealed_headers', models.TextField(null=True)),
                ('scope', models.CharField(blank=True, default='', max_length=1000)),
                ('client_id', models.CharField(blank=True, default='', max_length=1000)),
                ('sealed_client_secret', models.TextField(null=True)),
                ('sealed_grant', models.TextField(null=True)),
                ('grant_expires_at', models.DateTimeField(null=True)),
                ('refreshing_until', models.DateTimeField(null=True)),
                ('flow_hash', models.CharField(max_length=64, null=True, unique=True)),
                ('sealed_flow', models.TextField(null=True)),
                ('flow_until', models.DateTimeField(null=True)),
                ('approval', models.BooleanField(default=False)),
                ('timeout_ms', models.PositiveIntegerField(default=60000)),
                ('enabled', models.BooleanField(default=True)),
                ('version', models.PositiveBigIntegerField(default=1)),
                ('created_at', models.DateTimeField(default=core_app.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=core_app.clock.now, editable=False)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants_app.tenant')),
            ],
            options={
                'ordering': ('name',),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'name'), name='mcp_server_of_tenant'), models.CheckConstraint(condition=models.Q(('auth__in', ['none', 'header', 'oauth'])), name='mcp_server_auth'), models.CheckConstraint(condition=models.Q(('timeout_ms__gte', 1000), ('timeout_ms__lte', 600000)), name='mcp_server_timeout')],
            },
        ),
        migrations.CreateModel(
            name='McpServerState',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64)),
                ('state', models.CharField(max_length=12)),
                ('reason', models.TextField(blank=True, default='')),
                ('protocol', models.CharField(blank=True, default='', max_length=20)),
                ('tools', models.PositiveIntegerField(default=0)),
                ('left_out', models.JSONField(default=list)),
                ('changed_at', models.DateTimeField(default=core_app.clock.now)),
                ('tenant', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants_app.tenant')),
            ],
            options={
                'ordering': ('name',),
                'constraints': [models.UniqueConstraint(fields=('tenant', 'name'), name='mcp_state_of_tenant'), models.UniqueConstraint(condition=models.Q(('tenant__isnull', True)), fields=('name',), name='mcp_state_of_operator')],
            },
        ),
    ]
