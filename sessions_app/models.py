"""Sessions, their runs and their messages.

Lower rooms know a session by its stream. A client's JSON is stored as the accepted text, so that key order and numbers
are preserved. At most one run of a session is active, which a constraint of the database enforces too.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from core_app.ids import new_id


def run_id() -> str:
    """Returns a new `requestId`."""
    return new_id("run")


def prompt_message_id(run: str) -> str:
    """Returns the id of the message that a run's prompt becomes, which is known as soon as the prompt is accepted."""
    return f"msg_{run.partition('_')[2]}"


class SessionState(models.TextChoices):
    """The states of a session (docs/protocol-native.md, "A session's life")."""

    IDLE = "idle"
    WORKING = "working"
    WAITING_APPROVAL = "waiting_approval"
    WAITING_INPUT = "waiting_input"
    WAITING_TOOL = "waiting_tool"
    CLOSED = "closed"


class RunState(models.TextChoices):
    """The states of a run: queued → running → waiting → ready → running → completed | aborted | failed. A `ready` run
    waits for its next leg."""

    QUEUED = "queued"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"


ACTIVE = (RunState.READY, RunState.RUNNING, RunState.WAITING)
UNFINISHED = (RunState.QUEUED, *ACTIVE)
WORKABLE = (RunState.QUEUED, RunState.READY, RunState.RUNNING)
"""Runs that the sweep looks at: those with a leg to start, or with one that some process should be executing."""


class SessionGroup(models.Model):
    """Sessions that a client follows together. The group's stream counts their events."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.CASCADE)
    public_id = models.CharField(max_length=64)
    stream = models.OneToOneField("events_app.Stream", models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "public_id"], name="group_public_id_unique")]

    def __str__(self) -> str:
        return self.public_id


class AgentSession(models.Model):
    """A conversation with one agent. `options`, `user_data` and `metadata` are JSON texts.

    When the conversation was cut to fit the model `kept_for`, `kept_from` is the first message that is still sent.
    `erasing_at` is set while the session is being removed or redacted: nothing copies it meanwhile.
    """

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT)
    api_key = models.ForeignKey("tenants_app.ApiKey", models.SET_NULL, null=True, db_index=False)
    public_id = models.CharField(max_length=64)
    stream = models.OneToOneField("events_app.Stream", models.PROTECT)
    group = models.ForeignKey(SessionGroup, models.SET_NULL, null=True)
    state = models.CharField(max_length=20, default=SessionState.IDLE)

    engine = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    agent = models.CharField(max_length=200, null=True)
    title = models.CharField(max_length=200, null=True)
    system_prompt = models.TextField(default="")
    max_turns = models.PositiveIntegerField(default=100)
    max_tokens = models.PositiveIntegerField(null=True)
    options = models.TextField(default="{}")
    response_format = models.TextField(null=True)
    history_policy = models.CharField(max_length=10, default="truncate")
    outage_policy = models.CharField(max_length=4, default="wait", db_default="wait")
    builtins = models.TextField(default="[]")
    approvals = models.TextField(default="{}")
    user_data = models.TextField(default="{}")
    metadata = models.TextField(default="{}")
    # TextField, because SQLite chooses indexes by the declared lengths of columns.
    kept_from = models.TextField(null=True)
    kept_for = models.TextField(null=True)

    prompt_count = models.PositiveIntegerField(default=0)
    message_count = models.PositiveIntegerField(default=0)
    turns = models.PositiveIntegerField(default=0)
    tool_calls = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    cost_known = models.BooleanField(default=True)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    closed_at = models.DateTimeField(null=True)
    erasing_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "public_id"], name="session_public_id_unique")]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="session_newest"),
            models.Index(fields=["tenant", "state", "-id"], name="session_by_state"),
            models.Index(fields=["tenant", "agent", "-id"], name="session_by_agent"),
            models.Index(fields=["tenant", "group", "-id"], name="session_by_group"),
            models.Index(fields=["tenant"], condition=Q(closed_at__isnull=True), name="session_open"),
        ]

    def __str__(self) -> str:
        return self.public_id


class Run(models.Model):
    """The execution of one prompt, up to its final answer.

    `attempt` counts all attempts, `stalled` those that died since the last progress. `urgent` runs (whenBusy:
    interrupt) precede other queued runs. `last_offset` is the offset of the terminal event. `trace` identifies the
    reserved span of the run (`core_app.tracing.reserve_span`), or is None.

    `first_output_ms` is the time from the prompt's acceptance to the first text or thought, `duration_ms` that to the
    end, waits for people and tools included. Both are None for runs that ended under an older version.

    A run that waits for its provider is `waiting` until `resume_at` and then `ready`. `outage_since`, `outage_tries`
    and `outage_reason` are of the outage that it has waited for since its last progress.
    """

    id = models.CharField(max_length=40, primary_key=True, default=run_id)
    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    session = models.ForeignKey(AgentSession, models.CASCADE, related_name="runs", db_index=False)
    api_key = models.ForeignKey("tenants_app.ApiKey", models.SET_NULL, null=True, db_index=False)
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, default=RunState.QUEUED)
    text = models.TextField()
    metadata = models.TextField(default="{}")
    end_user = models.CharField(max_length=200, null=True)
    trace = models.CharField(max_length=80, null=True)

    leg = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=0)
    stalled = models.PositiveIntegerField(default=0)
    turns = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    cost_known = models.BooleanField(default=True)
    active_ms = models.BigIntegerField(default=0)
    first_output_ms = models.BigIntegerField(null=True)
    duration_ms = models.BigIntegerField(null=True)

    resume_at = models.DateTimeField(null=True)
    outage_since = models.DateTimeField(null=True)
    outage_tries = models.PositiveIntegerField(default=0, db_default=0)
    outage_reason = models.TextField(null=True)

    urgent = models.BooleanField(default=False)
    end_reason = models.CharField(max_length=20, null=True)
    error_code = models.CharField(max_length=60, null=True)
    error_reason = models.TextField(null=True)
    last_message = models.TextField(null=True)
    first_offset = models.BigIntegerField(default=0)
    last_offset = models.BigIntegerField(null=True)

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    leg_started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["session", "number"], name="run_number_unique"),
            models.UniqueConstraint(fields=["session"], condition=Q(state__in=ACTIVE), name="run_one_active"),
            models.CheckConstraint(name="run_state_known", condition=Q(state__in=RunState.values)),
            models.CheckConstraint(
                name="run_ends_once",
                condition=Q(state__in=UNFINISHED, ended_at__isnull=True, last_offset__isnull=True)
                | (~Q(state__in=UNFINISHED) & Q(ended_at__isnull=False, last_offset__gte=F("first_offset"))),
            ),
        ]
        indexes = [
            models.Index(fields=["session", "number"], condition=Q(state__in=UNFINISHED), name="run_unfinished"),
            models.Index(fields=["created_at"], condition=Q(state__in=WORKABLE), name="run_workable"),
            models.Index(
                fields=["tenant", "created_at"], condition=Q(state__in=WORKABLE), name="run_workable_of_tenant"
            ),
            models.Index(fields=["tenant"], condition=Q(state=RunState.WAITING), name="run_waiting"),
            models.Index(fields=["tenant", "ended_at"], condition=Q(ended_at__isnull=False), name="run_by_end"),
            models.Index(fields=["resume_at"], condition=Q(resume_at__isnull=False), name="run_resume_at"),
            models.Index(fields=["session", "end_user"], condition=Q(end_user__isnull=False), name="run_by_end_user"),
        ]

    def __str__(self) -> str:
        return self.id


class Message(models.Model):
    """One message of the conversation, in order. `calls` is a JSON text; `payload` is the engine's encoding.

    `end_user` is set on messages without a run, which were imported or copied by a fork, and names their end user.
    """

    id = models.CharField(max_length=40, primary_key=True)
    session = models.ForeignKey(AgentSession, models.CASCADE, related_name="messages", db_index=False)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="messages")
    number = models.PositiveIntegerField()
    role = models.CharField(max_length=12)
    content = models.TextField()
    calls = models.TextField(null=True)
    call_id = models.CharField(max_length=200, null=True)
    payload = models.TextField(null=True)
    end_user = models.CharField(max_length=200, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session", "number"], name="message_number_unique")]
        indexes = [
            models.Index(fields=["end_user"], condition=Q(end_user__isnull=False), name="message_of_end_user"),
            models.Index(fields=["session"], condition=Q(role="system"), name="message_of_system"),
        ]

    def __str__(self) -> str:
        return self.id


class AttachmentContent(models.Model):
    """The bytes of attachments. Forks refer to the same content, so it is deleted with its last attachment."""

    data = models.BinaryField()
    size = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.size} bytes"


class PromptAttachment(models.Model):
    """An attachment of a prompt: its `content`, or the `url` from which the first leg will download it.

    It belongs to the run and, once the run has started, also to the prompt's message. The version before has the bytes
    in `data`; a fork moves them, and the next version drops the column.
    """

    run = models.ForeignKey(Run, models.CASCADE, null=True, related_name="attachments")
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="attachments")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=5)
    media_type = models.CharField(max_length=100)
    name = models.CharField(max_length=200, null=True)
    content = models.ForeignKey(
        AttachmentContent, models.PROTECT, null=True, db_index=False, related_name="attachments"
    )
    data = models.BinaryField(null=True)
    url = models.TextField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="attachment_has_one_source",
                condition=Q(content__isnull=False, data__isnull=True, url__isnull=True)
                | Q(content__isnull=True, data__isnull=False, url__isnull=True)
                | Q(content__isnull=True, data__isnull=True, url__isnull=False),
            )
        ]
        indexes = [
            # Used when a content may have lost its last attachment.
            models.Index(name="attachment_by_content", fields=["content"], condition=Q(content__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.kind} {self.position}"


class SteeringNote(models.Model):
    """A text that joins a run before its next model request. It is delivered once."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="steering")
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.text[:60]


class RetentionCursor(models.Model):
    """The progress of retention in a tenant's events: nothing is left to remove of runs that ended up to `ended_at`."""

    tenant = models.OneToOneField("tenants_app.Tenant", models.CASCADE, primary_key=True, related_name="+")
    ended_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.ended_at}"
