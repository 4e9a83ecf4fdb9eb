"""Roles of people in tenants. People without one keep the scopes of their rows."""

import core_app.clock
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('tenants_app', '0006_key_prefix'),
    ]

    operations = [
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(max_length=20)),
                ('from_claims', models.BooleanField(db_default=False, default=False, editable=False)),
                ('created_at', models.DateTimeField(default=core_app.clock.now, editable=False)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='tenants_app.tenant')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'role',
                'ordering': ('tenant_id', 'id'),
                'constraints': [models.UniqueConstraint(fields=('user', 'tenant', 'from_claims'), name='membership_once_per_source')],
            },
        ),
    ]
