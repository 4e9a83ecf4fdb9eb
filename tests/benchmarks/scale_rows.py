"""Fills an empty deployment with sessions and everything that belongs to them, by SQL: the child of `at_scale`.

`python -m tests.benchmarks.scale_rows SESSIONS [records]` prints the ids to request as JSON. The rows are those that
prompts leave: 50 events per session (a fifth of them counted in groups), two runs, four messages, one tool call, two
ledger rows; one session is long. All but a few are finished. With `records` there are no events, messages and calls.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    # Of the child only: the measuring process knows no Django settings.
    from django.db.models import Model

RECORDS = "records"
EVENTS = 40
GROUPED = 4
"""Every fourth session is in a group, which counts its events too: 50 rows per session in total."""
IN_GROUP = 25
WAITING = 500
LONG_RUNS = 1000
LONG_EVENTS = 50
DAYS = 90
DATA = (
    '{"messageId":"msg_01m7yjkz1pfx5vtjxvwhecsc47","delta":"a few words of an answer ",'
    '"requestId":"run_01m7yjkx7r9zpa1fma044eptmz","at":"2026-01-01T00:00:00.000Z"}'
)


class Filler:
    """Writes rows by `INSERT … SELECT` over numbers; other columns get their model's default."""

    def __init__(self, sessions: int, tenant_id: int, other_id: int, key_id: int) -> None:
        from django.db import connection

        self.sessions = sessions
        self.tenant = f"CASE WHEN {{n}} % 10 = 0 THEN {other_id} ELSE {tenant_id} END"
        self.tenant_id, self.key_id = tenant_id, key_id
        self.vendor = connection.vendor
        self.cursor = connection.cursor()

    def rows(self, model: type[Model], count: int, /, **expressions: str) -> None:
        """Inserts `count` rows; an expression may use `n`, the number of its row from 1."""
        fields = [field for field in model._meta.concrete_fields if field.name != "pk"]
        values = [expressions.pop(str(field.attname), "") or _default(field) for field in fields]
        assert not expressions, expressions
        columns = ", ".join(f'"{field.column}"' for field in fields)
        numbers = (
            f"generate_series(1, {count}) AS seq(n)"
            if self.vendor == "postgresql"
            else f"(WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {count})"
            " SELECT n FROM seq) AS seq"
        )
        # Numbered in order, so that ids that the database gives are in order too.
        self.cursor.execute(
            f'INSERT INTO "{model._meta.db_table}" ({columns}) SELECT {", ".join(values)} FROM {numbers}'
        )

    def ago(self, number: str, of: int) -> str:
        """Returns SQL for times spread over the last DAYS, the last row's being now."""
        seconds = f"(({of} - {number}) * {DAYS * 86400 / of:.6f})"
        if self.vendor == "postgresql":
            return f"(now() - {seconds} * interval '1 second')"
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {seconds} || ' seconds')"

    def fill(self) -> None:
        """Inserts everything, in the order of its foreign keys."""
        self._streams()
        self._sessions()
        self._events()
        self._runs()
        self._messages()
        self._calls()
        self._records()
        self._deliveries()

    def fill_records(self) -> None:
        """Inserts only what usage and operations read: sessions and runs without their events, and the records."""
        self._streams()
        self._sessions()
        self._runs()
        self._records()
        self._deliveries()

    def _streams(self) -> None:
        from events_app.models import Stream

        groups = self.sessions // (GROUPED * IN_GROUP)
        parent = f"CASE WHEN n % {GROUPED} = 0 THEN {self.sessions} + 1 + n / {GROUPED * IN_GROUP} END"
        # A parent is looked for when a row refers to it: the groups' streams come first.
        head = str(EVENTS * IN_GROUP)
        self.rows(Stream, groups + 1, id=f"{self.sessions} + n", kind="'group'", head=head)
        long = LONG_RUNS * LONG_EVENTS
        head = f"CASE WHEN n = {self.sessions - 1} THEN {EVENTS + long} ELSE {EVENTS} END"
        self.rows(Stream, self.sessions, id="n", kind="'session'", head=head, parent_id=parent)

    def _sessions(self) -> None:
        from sessions_app.models import AgentSession, SessionGroup

        groups = self.sessions // (GROUPED * IN_GROUP)
        self.rows(
            SessionGroup,
            groups + 1,
            id="n",
            tenant_id=str(self.tenant_id),
            public_id="'group-' || n",
            stream_id=f"{self.sessions} + n",
        )
        moment = self.ago("n", self.sessions)
        self.rows(
            AgentSession,
            self.sessions,
            id="n",
            tenant_id=self.tenant.format(n="n"),
            api_key_id=str(self.key_id),
            public_id="'session-' || n",
            stream_id="n",
            group_id=f"CASE WHEN n % {GROUPED} = 0 THEN 1 + n / {GROUPED * IN_GROUP} END",
            state=f"CASE WHEN n <= {WAITING} THEN 'waiting_approval' WHEN n % 3 = 0 THEN 'closed' ELSE 'idle' END",
            engine="'model'",
            model="CASE WHEN n % 7 = 0 THEN 'demo:tour' ELSE 'demo:echo' END",
            # Some of every agent, and one that only the oldest sessions had.
            agent="CASE WHEN n <= 20 THEN 'retired' WHEN n % 2 = 0 THEN 'helper' END",
            title="'A conversation about ' || n",
            message_count="4",
            turns="2",
            created_at=moment,
            updated_at=moment,
            closed_at=f"CASE WHEN n > {WAITING} AND n % 3 = 0 THEN {moment} END",
        )

    def _events(self) -> None:
        from events_app.models import Event

        kind = f"CASE (n - 1) % {EVENTS} WHEN 0 THEN 'agent_start' WHEN {EVENTS - 1} THEN 'agent_end'"
        kind += " ELSE 'message_delta' END"
        own = self.sessions * EVENTS
        stream, offset = f"1 + (n - 1) / {EVENTS}", f"1 + (n - 1) % {EVENTS}"
        of_run = f"'run_' || (1000000000 + 2 * (1 + (n - 1) / {EVENTS}))"
        self.rows(Event, own, stream_id=stream, offset=offset, type=kind, run_id=of_run, data=f"'{DATA}'")
        one = f"(1 + (n - 1) / {EVENTS}) * {GROUPED}"
        place = f"((n - 1) / {EVENTS} + 1) % {IN_GROUP} * {EVENTS} + 1 + (n - 1) % {EVENTS}"
        self.rows(
            Event,
            own // GROUPED,
            stream_id=f"{self.sessions} + 1 + {one} / {GROUPED * IN_GROUP}",
            offset=place,
            type="'message_delta'",
            source_id=one,
            source_offset=offset,
        )
        long = LONG_RUNS * LONG_EVENTS
        self.rows(
            Event,
            long,
            stream_id=str(self.sessions - 1),
            offset=f"{EVENTS} + n",
            type="'message_delta'",
            run_id=f"'run_' || (2000000000 + 1 + (n - 1) / {LONG_EVENTS})",
            data=f"'{DATA}'",
        )

    def _runs(self) -> None:
        from sessions_app.models import Run

        own = 2 * self.sessions
        session = "((n + 1) / 2)"
        waits = f"n % 2 = 0 AND n <= {2 * WAITING}"
        moment = self.ago("n", own)
        self.rows(
            Run,
            own,
            id="'run_' || (1000000000 + n)",
            tenant_id=self.tenant.format(n=session),
            session_id=session,
            api_key_id=str(self.key_id),
            number="2 - n % 2",
            state=f"CASE WHEN {waits} THEN 'waiting' ELSE 'completed' END",
            text="'Tell me about ' || n",
            end_user="'user-' || (n % 1000)",
            turns="1",
            first_output_ms="100 + n % 900",
            duration_ms=f"CASE WHEN {waits} THEN NULL ELSE 500 + n % 5000 END",
            end_reason=f"CASE WHEN {waits} THEN NULL ELSE 'completed' END",
            last_message="'It is ' || n",
            first_offset="1",
            last_offset=f"CASE WHEN {waits} THEN NULL ELSE {EVENTS // 2} * (2 - n % 2) END",
            created_at=moment,
            started_at=moment,
            ended_at=f"CASE WHEN {waits} THEN NULL ELSE {moment} END",
        )
        moment = self.ago("n", LONG_RUNS)
        self.rows(
            Run,
            LONG_RUNS,
            id="'run_' || (2000000000 + n)",
            tenant_id=str(self.tenant_id),
            session_id=str(self.sessions - 1),
            number="2 + n",
            state="'completed'",
            text="'Go on with ' || n",
            end_reason="'completed'",
            first_offset=f"{EVENTS} + 1 + {LONG_EVENTS} * (n - 1)",
            last_offset=f"{EVENTS} + {LONG_EVENTS} * n",
            created_at=moment,
            ended_at=moment,
        )

    def _messages(self) -> None:
        from sessions_app.models import Message

        own = 4 * self.sessions
        role = "CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END"
        content = "'What was said as number ' || n || ' and some more words to make it as long as most'"
        self.rows(
            Message,
            own,
            id="'msg_' || (1000000000 + n)",
            session_id="1 + (n - 1) / 4",
            run_id="'run_' || (1000000000 + 1 + (n - 1) / 2)",
            number="1 + (n - 1) % 4",
            role=role,
            content=content,
            created_at=self.ago("n", own),
        )
        self.rows(
            Message,
            2 * LONG_RUNS,
            id="'msg_' || (2000000000 + n)",
            session_id=str(self.sessions - 1),
            run_id="'run_' || (2000000000 + 1 + (n - 1) / 2)",
            number="4 + n",
            role=role,
            content=content,
            created_at=self.ago("n", 2 * LONG_RUNS),
        )

    def _calls(self) -> None:
        from tools_app.models import SessionTool, ToolCall

        waits = f"n <= {WAITING}"
        moment = self.ago("n", self.sessions)
        later = "now() + interval '9 days'" if self.vendor == "postgresql" else "datetime('now', '9 days')"
        self.rows(
            ToolCall,
            self.sessions,
            id="'call_' || (1000000000 + n)",
            tenant_id=self.tenant.format(n="n"),
            stream_id="n",
            run_id="'run_' || (1000000000 + 2 * n)",
            message_id="'msg_' || (1000000000 + 4 * n)",
            position="0",
            provider_id="'call_0'",
            tool_name="'demo_approval'",
            kind="'builtin'",
            args="'{}'",
            args_hash="'x'",
            state=f"CASE WHEN {waits} THEN 'awaiting_approval' ELSE 'settled' END",
            created_at=moment,
            approval_id="'apr_' || (1000000000 + n)",
            approval_state=f"CASE WHEN {waits} THEN 'pending' ELSE 'approved' END",
            requested_at=moment,
            expires_at=f"CASE WHEN {waits} THEN {later} END",
            settled_at=f"CASE WHEN {waits} THEN NULL ELSE {moment} END",
            status=f"CASE WHEN {waits} THEN NULL ELSE 'ok' END",
            result=f"CASE WHEN {waits} THEN NULL ELSE 'done' END",
        )
        self.rows(
            SessionTool,
            self.sessions // 10,
            id="n",
            tenant_id=self.tenant.format(n="(10 * n)"),
            stream_id="10 * n",
            name="'search'",
            description="'Looks for something'",
            parameters="'{}'",
            created_at=self.ago("n", self.sessions // 10),
        )

    def _records(self) -> None:
        from tenants_app.models import AuditEntry, LedgerEntry

        own = 2 * self.sessions
        self.rows(
            LedgerEntry,
            own,
            id="n",
            tenant_id=self.tenant.format(n="((n + 1) / 2)"),
            api_key_id=str(self.key_id),
            session_ref="'session-' || ((n + 1) / 2)",
            run_id="'run_' || (1000000000 + n)",
            response_no="1",
            model="CASE WHEN n % 7 = 0 THEN 'demo:tour' ELSE 'demo:echo' END",
            input_tokens="100 + n % 50",
            output_tokens="20 + n % 10",
            cost_usd="0.00001 * (n % 100)",
            end_user="'user-' || (n % 1000)",
            created_at=self.ago("n", own),
        )
        self.rows(
            AuditEntry,
            self.sessions // 2,
            id="1000 + n",
            tenant_id=self.tenant.format(n="n"),
            actor="'key:' || (n % 40)",
            action="CASE WHEN n % 3 = 0 THEN 'approval.approve' ELSE 'session.erase' END",
            target="'session-' || n",
            detail="'{}'",
            at=self.ago("n", self.sessions // 2),
        )

    def _deliveries(self) -> None:
        """Inserts deliveries of a webhook that is switched off now; none is old enough to be removed."""
        from events_app.webhooks.models import WebhookDelivery, WebhookEndpoint

        moment = "now()" if self.vendor == "postgresql" else "datetime('now')"
        self.rows(
            WebhookEndpoint,
            1,
            id="1",
            public_id="'whk_1'",
            tenant_id=str(self.tenant_id),
            url="'https://example.com/hook'",
            events="""'["agent_end"]'""",
            secret="''",
            created_at=moment,
            disabled_at=moment,
            disabled_reason="'paused'",
        )
        self.rows(
            WebhookDelivery,
            2 * self.sessions,
            id="'msg_' || (1000000000 + n)",
            endpoint_id="1",
            stream_id="(n + 1) / 2",
            offset=f"{EVENTS // 2} * (2 - n % 2)",
            type="'agent_end'",
            state="CASE WHEN n % 50 = 0 THEN 'dead' ELSE 'delivered' END",
            attempts="1",
            last_status="200",
            created_at=moment,
            settled_at=moment,
        )


def _default(field: Any) -> str:
    """Returns the model's default as SQL; NULL without one, which a NOT NULL column refuses."""
    value = field.get_default() if field.has_default() and not callable(field.default) else None
    value = "{}" if value is None and field.get_internal_type() == "JSONField" else value
    if value is None:
        return "''" if not field.null and field.empty_strings_allowed else "NULL"
    return str(value).upper() if isinstance(value, bool) else f"'{value}'" if isinstance(value, str) else f"{value:d}"


def statistics_collect() -> None:
    """Collects statistics, as autovacuum does within minutes; sequences continue after the given ids."""
    from django.core.management.color import no_style
    from django.db import connection

    from events_app.models import Stream
    from sessions_app.models import AgentSession, SessionGroup
    from tenants_app.models import AuditEntry, LedgerEntry
    from tools_app.models import SessionTool

    models = [Stream, AgentSession, SessionGroup, AuditEntry, LedgerEntry, SessionTool]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")


def main() -> None:
    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    from core_app.database import write_transaction
    from events_app.models import Event
    from tenants_app.models import ApiKey, Tenant, User
    from tenants_app.services import tenant_create

    call_command("prepare", verbosity=0)
    tenant, other, key = Tenant.objects.get(), tenant_create(slug="other"), ApiKey.objects.get()
    user = User.objects.create_superuser("root", password=None)
    person = User.objects.create_user("ann", is_staff=True, tenant=tenant, scopes=["sessions", "operator", "admin"])
    cookies = []
    for who in (user, person):
        store = SessionStore()
        backend = "django.contrib.auth.backends.ModelBackend"
        store.update(
            {SESSION_KEY: str(who.pk), BACKEND_SESSION_KEY: backend, HASH_SESSION_KEY: who.get_session_auth_hash()}
        )
        store.create()
        cookies.append(store.session_key)
    filler = Filler(int(sys.argv[1]), tenant.pk, other.pk, key.pk)
    with write_transaction():
        (filler.fill_records if RECORDS in sys.argv else filler.fill)()
    statistics_collect()
    found = {"root": cookies[0], "person": cookies[1], "tenant": tenant.pk, "key": key.pk}
    print(json.dumps(found | {"events": Event.objects.count()}), flush=True)


if __name__ == "__main__":
    main()
