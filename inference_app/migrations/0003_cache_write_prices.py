from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('inference_app', '0002_relayed_day'),
    ]

    operations = [
        migrations.AddField(
            model_name='price',
            name='cache_write',
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=14, null=True),
        ),
        migrations.AddField(
            model_name='price',
            name='cache_write_hour',
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=14, null=True),
        ),
    ]
