"""The accounts at identity providers with which people sign in."""

import core_app.clock
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('tenants_app', '0007_memberships'),
    ]

    operations = [
        migrations.CreateModel(
            name='PersonIdentity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(max_length=500)),
                ('subject', models.CharField(max_length=255)),
                ('created_at', models.DateTimeField(default=core_app.clock.now, editable=False)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='identities', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'person identities',
                'constraints': [models.UniqueConstraint(fields=('issuer', 'subject'), name='person_identity_once')],
            },
        ),
    ]
