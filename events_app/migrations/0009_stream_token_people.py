"""Whose tenant and browser a stream token is of. `sessions_app` made the table (its 0013 let the model go)."""

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('events_app', '0008_stream_storage'),
        ('sessions_app', '0013_stream_token_moves'),
    ]

    operations = [
        migrations.AddField(
            model_name='streamtoken',
            name='browser_session',
            field=models.CharField(db_default='', default='', max_length=64),
        ),
        migrations.AddField(
            model_name='streamtoken',
            name='tenant_id',
            field=models.BigIntegerField(null=True),
        ),
    ]
