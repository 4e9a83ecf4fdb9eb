"""Tokens name a stream. Processes of the version before go on writing `session` alone, and find tokens by it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('events_app', '0005_stream_token'),
        ('sessions_app', '0011_message_end_user'),
    ]

    operations = [
        migrations.AddField(
            model_name='streamtoken',
            name='stream',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='events_app.stream'),
        ),
        # No constraint: this version removes sessions without a look at tokens that the one before has made.
        migrations.AlterField(
            model_name='streamtoken',
            name='session',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='stream_tokens', to='sessions_app.agentsession'),
        ),
    ]
