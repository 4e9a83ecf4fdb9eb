from django.db import models

from core_app.online_migrations import AddIndexOnline, OnlineMigration, ValidateCheck


class Migration(OnlineMigration):
    atomic = False

    dependencies = [
        ('sessions_app', '0015_attachment_content'),
    ]

    operations = [
        AddIndexOnline(
            model_name='run',
            index=models.Index(condition=models.Q(('resume_at__isnull', False)), fields=['resume_at'], name='run_resume_at'),
        ),
        ValidateCheck('promptattachment', 'attachment_has_one_source'),
        AddIndexOnline(
            model_name='promptattachment',
            index=models.Index(condition=models.Q(('content__isnull', False)), fields=['content'], name='attachment_by_content'),
        ),
    ]
