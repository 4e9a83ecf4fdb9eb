"""Contents apart from attachments, so that forks refer to them. Rows that are there keep their bytes in `data`."""

import django.db.models.deletion
from django.db import migrations, models

from core_app.online_migrations import AddCheckOnline, OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('sessions_app', '0014_provider_wait'),
    ]

    operations = [
        migrations.CreateModel(
            name='AttachmentContent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('data', models.BinaryField()),
                ('size', models.BigIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.AddField(
            model_name='promptattachment',
            name='content',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='attachments', to='sessions_app.attachmentcontent'),
        ),
        migrations.RemoveConstraint(
            model_name='promptattachment',
            name='attachment_data_or_url',
        ),
        AddCheckOnline(
            model_name='promptattachment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('content__isnull', False), ('data__isnull', True), ('url__isnull', True)), models.Q(('content__isnull', True), ('data__isnull', False), ('url__isnull', True)), models.Q(('content__isnull', True), ('data__isnull', True), ('url__isnull', False)), _connector='OR'), name='attachment_has_one_source'),
        ),
    ]
