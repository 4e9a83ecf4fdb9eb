"""Tasks, spaces and routing rules.

A task keeps the public ids of its sessions and no foreign keys to them, because retention and erasure remove sessions
by their own rules. Times on the wire are milliseconds; here they are instants.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core_app import clock
from core_app.ids import new_id


def space_id() -> str:
    """Returns a new id of a space, which the protocol writes with a hyphen."""
    return new_id("space").replace("_", "-", 1)


class MeshStream(models.Model):
    """The tenant's stream of live events. Its row is made with the first task, space, follower or broadcast."""

    tenant = models.OneToOneField("tenants_app.Tenant", models.CASCADE, primary_key=True, related_name="+")
    stream = models.OneToOneField("events_app.Stream", models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"events of tenant {self.tenant_id}"


class TaskStatus(models.TextChoices):
    """pending → assigned → running → completed | failed | cancelled."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING)


class Space(models.Model):
    """Messages and files that tasks and clients share. `bytes` sums the contents of both; `next_number` is the offset
    of the next message."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False, related_name="+")
    public_id = models.CharField(max_length=64, default=space_id)
    metadata = models.TextField(default="{}")
    next_number = models.BigIntegerField(default=1)
    message_count = models.BigIntegerField(default=0)
    artifact_count = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "public_id"], name="space_public_id_unique")]
        indexes = [models.Index(fields=["tenant", "updated_at"], name="space_by_update")]

    def __str__(self) -> str:
        return self.public_id


class SpaceMessage(models.Model):
    """A message of a space. `body` is the AgentMessage or object that the client sent, as JSON text."""

    space = models.ForeignKey(Space, models.CASCADE, db_index=False, related_name="messages")
    number = models.BigIntegerField()
    public_id = models.CharField(max_length=128)
    role = models.CharField(max_length=32)
    content = models.TextField()
    body = models.TextField()
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "number"], name="space_message_number_unique")]

    def __str__(self) -> str:
        return self.public_id


class StoredFile(models.Model):
    """A file in Django's storage. The row is committed before the file is written and removed after it is deleted, so
    no file is forgotten; one that no artifact has is deleted by the sweep."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False, related_name="+")
    name = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(default=clock.now)
    in_use = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["created_at"], condition=Q(in_use=False), name="stored_file_unused")]

    def __str__(self) -> str:
        return self.name


class FileContent(models.Model):
    """The bytes of a file, where `faces.mesh.storage` is the storage of artifacts."""

    name = models.CharField(max_length=200, unique=True)
    data = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class Artifact(models.Model):
    """A file of a space, by its name. `text` is the beginning of a text file, for excerpts."""

    space = models.ForeignKey(Space, models.CASCADE, db_index=False, related_name="artifacts")
    name = models.CharField(max_length=128)
    media_type = models.CharField(max_length=200)
    size = models.BigIntegerField()
    text = models.TextField(default="")
    file = models.OneToOneField(StoredFile, models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "name"], name="artifact_name_unique")]

    def __str__(self) -> str:
        return self.name


class SearchEntry(models.Model):
    """The words of a message or an artifact, as the full-text index takes them (`faces.mesh.search_index`).

    `embedding` is the vector of a semantic search, as float32 numbers; it is made when the first such search needs it.
    """

    space = models.ForeignKey(Space, models.CASCADE, related_name="entries")
    message = models.OneToOneField(SpaceMessage, models.CASCADE, null=True, related_name="entry")
    artifact = models.OneToOneField(Artifact, models.CASCADE, null=True, related_name="entry")
    terms = models.TextField()
    embedding = models.BinaryField(null=True)
    embedding_model = models.CharField(max_length=200, null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="search_entry_has_one_source",
                condition=Q(message__isnull=False, artifact__isnull=True)
                | Q(message__isnull=True, artifact__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"entry {self.pk}"


class Task(models.Model):
    """Work for one or several agents. `agents` is a JSON list of agent ids.

    `prompt` is the text of the agents' runs. `pipeline_id` and `step` are those of a step of a pipeline, whose prompt
    is completed with the output of the step before. `caller` is the JSON of the principal's identity, for steps that
    start later. `deadline_at` is set once its runs exist.
    """

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False, related_name="+")
    public_id = models.CharField(max_length=128)
    status = models.CharField(max_length=10, default=TaskStatus.PENDING)
    broadcast = models.BooleanField(default=False)
    agents = models.TextField(default="[]")
    body = models.TextField()
    prompt = models.TextField()
    space = models.ForeignKey(Space, models.SET_NULL, null=True, related_name="tasks")
    space_ref = models.CharField(max_length=64, null=True)
    streams = models.BooleanField(default=False)
    timeout_seconds = models.FloatField(default=300.0)
    deadline_at = models.DateTimeField(null=True)
    pipeline_id = models.CharField(max_length=64, null=True)
    step = models.PositiveIntegerField(default=0)
    caller = models.TextField(default="{}")
    result = models.TextField(null=True)
    partial = models.BooleanField(default=False)
    error_code = models.CharField(max_length=40, null=True)
    error_message = models.TextField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "public_id"], name="task_public_id_unique"),
            models.CheckConstraint(name="task_status_known", condition=Q(status__in=TaskStatus.values)),
        ]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="task_newest"),
            models.Index(fields=["tenant", "status", "-id"], name="task_by_status"),
            models.Index(fields=["tenant", "updated_at"], name="task_by_update"),
            models.Index(
                fields=["tenant", "pipeline_id", "step"],
                condition=Q(pipeline_id__isnull=False),
                name="task_of_pipeline",
            ),
            models.Index(fields=["deadline_at"], condition=Q(status__in=UNFINISHED), name="task_deadline"),
        ]

    def __str__(self) -> str:
        return self.public_id


class TaskRun(models.Model):
    """One agent's part of a task: a session with a run. `output` or an error is set when the run has ended.

    An agent that cannot be served has neither session nor run.
    """

    task = models.ForeignKey(Task, models.CASCADE, db_index=False, related_name="runs")
    number = models.PositiveIntegerField()
    agent_id = models.CharField(max_length=64, db_index=True)
    session_id = models.CharField(max_length=64, null=True)
    stream_id = models.BigIntegerField(null=True, db_index=True)
    run_id = models.CharField(max_length=40, null=True, unique=True)
    started = models.BooleanField(default=False)
    ended = models.BooleanField(default=False)
    output = models.TextField(null=True)
    error_code = models.CharField(max_length=40, null=True)
    error_message = models.TextField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "number"], name="task_run_number_unique")]
        indexes = [models.Index(fields=["task"], condition=Q(ended=False), name="task_run_open")]

    def __str__(self) -> str:
        return f"{self.agent_id} of {self.task_id}"


class RoutingRule(models.Model):
    """A tenant's own rule, edited in the admin; without a tenant it applies to all. Comes before rules of the
    configuration with the same priority."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.CASCADE, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=100)
    keywords = models.JSONField(default=list)
    agents = models.JSONField(default=list)
    broadcast = models.BooleanField(default=False)
    priority = models.IntegerField(default=0)
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name
