from core_app.online_migrations import OnlineMigration, ValidateCheck


class Migration(OnlineMigration):
    dependencies = [
        ("tools_app", "0003_unknown_status"),
    ]

    operations = [
        ValidateCheck("toolcall", "call_settled_has_an_outcome"),
    ]
