"""The model StreamToken comes from `sessions_app`, which made the table and changes it (its 0012)."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('events_app', '0004_deliveries_by_state'),
        ('tenants_app', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name='StreamToken',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('secret_hash', models.CharField(max_length=64, unique=True)),
                        ('session_id', models.BigIntegerField(db_index=True, null=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('connected_at', models.DateTimeField(null=True)),
                        ('expires_at', models.DateTimeField(db_index=True)),
                        ('api_key', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants_app.apikey')),
                        ('stream', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='events_app.stream')),
                        ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'db_table': 'sessions_app_streamtoken',
                        'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('api_key__isnull', False), ('user__isnull', True)), models.Q(('api_key__isnull', True), ('user__isnull', False)), _connector='OR'), name='stream_token_has_a_holder')],
                    },
                ),
            ],
        ),
    ]
