from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration, ValidateCheck


class Migration(OnlineMigration):
    atomic = False

    dependencies = [
        ('sessions_app', '0014_attachment_content'),
    ]

    operations = [
        ValidateCheck('promptattachment', 'attachment_has_one_source'),
        AddIndexOnline(
            model_name='promptattachment',
            index=models.Index(condition=models.Q(('content__isnull', False)), fields=['content'], name='attachment_by_content'),
        ),
    ]
