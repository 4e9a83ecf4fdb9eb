"""Counts the requests of a day whose usage is estimated. The column has a default in the database, so that the version
before can still insert days."""

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('tenants_app', '0004_devices'),
    ]

    operations = [
        migrations.AddField(
            model_name='usageday',
            name='estimated',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
    ]
