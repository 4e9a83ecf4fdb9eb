from django.db import migrations, models

from core_app.online_migrations import AddCheckOnline, OnlineMigration


class Migration(OnlineMigration):
    dependencies = [
        ("tools_app", "0002_removal_indexes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="toolcall",
            name="call_settled_has_an_outcome",
        ),
        AddCheckOnline(
            model_name="toolcall",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("state", "settled"), _negated=True),
                        ("result__isnull", True),
                        ("settled_at__isnull", True),
                        ("status__isnull", True),
                    ),
                    models.Q(
                        ("result__isnull", False),
                        ("settled_at__isnull", False),
                        ("state", "settled"),
                        ("status__in", ["ok", "error", "rejected", "timeout", "unknown"]),
                        ("status__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="call_settled_has_an_outcome",
            ),
        ),
    ]
