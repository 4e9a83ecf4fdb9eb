"""The UTC day of a moment, cut out by the database itself.

Django's TruncDate calls back into Python for every row of SQLite: of 180,000 ledger rows that took seconds.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Func, TextField


class UtcDay(Func):
    """The day of a time stamp as ISO text."""

    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(compiler, connection, template="substr(%(expressions)s, 1, 10)", **more)

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        template = "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        return self.as_sql(compiler, connection, template=template, **more)
