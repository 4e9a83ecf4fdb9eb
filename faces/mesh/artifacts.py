"""Artifacts: the files of a space, in Django's storage `artifacts`.

A file is written under a new random name before its row is committed, and a replaced one is deleted after: whatever
dies in between, an artifact's row has its file, and a file without an artifact is deleted by the sweep.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages
from django.db.models import F

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, PayloadTooLarge
from events_app.removal import GoOn
from faces.mesh.errors import ArtifactNotFound
from faces.mesh.events import ContextUpdated
from faces.mesh.models import Artifact, SearchEntry, Space, StoredFile
from faces.mesh.search_index import entry_add
from faces.mesh.spaces import bytes_check, space_get, space_lock
from faces.mesh.stream import mesh_append
from tenants_app.principal import Principal

MAX_BYTES = 8 * 1024 * 1024
MAX_TEXT = 50_000
"""Characters of a text file that are kept beside it, for search and excerpts."""

UNUSED_SECONDS = 3600
"""Age at which a file that no artifact has is deleted: longer than any upload takes."""

BATCH = 200

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_TEXT_TYPES = (
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/javascript",
)


def artifact_put(*, principal: Principal, space_id: str, name: str, content: bytes, media_type: str) -> Artifact:
    """Stores a file under a name, in place of the one that had it. Raises BadRequest, SpaceNotFound, PayloadTooLarge,
    QuotaExceeded."""
    name_check(name)
    if len(content) > MAX_BYTES:
        raise PayloadTooLarge(f"An artifact has at most {MAX_BYTES} bytes.")
    space_get(principal, space_id)
    bytes_check(principal.tenant_id, len(content))
    stored = _file_write(principal.tenant_id, content)
    text = text_of(content, media_type)
    with write_transaction():
        space = space_lock(principal, space_id)
        former = Artifact.objects.select_related("file").filter(space=space, name=name).first()
        if former is not None:
            _remove_row(former)
        StoredFile.objects.filter(pk=stored.pk).update(in_use=True)
        artifact = Artifact.objects.create(
            space=space, name=name, media_type=media_type, size=len(content), text=text, file=stored
        )
        entry_add(space_pk=space.pk, text=f"{name.replace('.', ' ').replace('-', ' ')}\n{text}", artifact=artifact)
        _count(space, files=0 if former is not None else 1, size=len(content) - (former.size if former else 0))
        mesh_append(principal.tenant_id, [ContextUpdated(space_id=space.public_id, change="artifact", artifact=name)])
    if former is not None:
        file_delete(former.file)
    return artifact


def artifact_get(principal: Principal, space_id: str, name: str) -> Artifact:
    """Returns an artifact. Raises BadRequest, SpaceNotFound, ArtifactNotFound."""
    name_check(name)
    space = space_get(principal, space_id)
    artifact = Artifact.objects.select_related("file").filter(space=space, name=name).first()
    if artifact is None:
        raise ArtifactNotFound(f"The space has no artifact {name!r}.")
    return artifact


def artifact_read(artifact: Artifact) -> bytes:
    """Returns the file's bytes. Raises ArtifactNotFound for one that was replaced or removed meanwhile."""
    try:
        with storage().open(artifact.file.name, "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        raise ArtifactNotFound(f"The space has no artifact {artifact.name!r}.") from None


def artifact_delete(*, principal: Principal, space_id: str, name: str) -> None:
    """Removes an artifact and its file. Raises BadRequest, SpaceNotFound, ArtifactNotFound."""
    artifact_get(principal, space_id, name)
    with write_transaction():
        space = space_lock(principal, space_id)
        artifact = Artifact.objects.select_related("file").filter(space=space, name=name).first()
        if artifact is None:
            raise ArtifactNotFound(f"The space has no artifact {name!r}.")
        _remove_row(artifact)
        _count(space, files=-1, size=-artifact.size)
        changed = ContextUpdated(space_id=space.public_id, change="artifact_deleted", artifact=name)
        mesh_append(principal.tenant_id, [changed])
    file_delete(artifact.file)


def name_check(name: str) -> None:
    """Raises BadRequest for a name that no artifact may have."""
    if not _NAME.match(name) or name in (".", ".."):
        raise BadRequest("An artifact's name has 1 to 128 of A-Z a-z 0-9 . _ - and is not . or ..", field="name")


def storage() -> Storage:
    """Returns the storage of artifacts (`STORAGES` in the settings)."""
    return storages["artifacts"]


def file_delete(stored: StoredFile) -> None:
    """Deletes a file that no artifact has, and then its row."""
    storage().delete(stored.name)
    with write_transaction():
        StoredFile.objects.filter(pk=stored.pk, in_use=False).delete()


def files_clean(go_on: GoOn) -> None:
    """Deletes the files that an upload or a removal left behind when its process died."""
    before = clock.now() - timedelta(seconds=UNUSED_SECONDS)
    # The condition of the index, literally: SQLite uses a partial index only then.
    unused = StoredFile.objects.filter(created_at__lt=before).extra(where=["NOT in_use"])
    for stored in list(unused.order_by("created_at")[:BATCH]):
        if not go_on():
            return
        file_delete(stored)


def text_of(content: bytes, media_type: str) -> str:
    """Returns the beginning of a text file, empty for other files."""
    kind = media_type.partition(";")[0].strip().lower()
    if not kind.startswith("text/") and kind not in _TEXT_TYPES and not kind.endswith(("+json", "+xml")):
        return ""
    # A character has at most four bytes; one that is cut in two at the end is dropped.
    return content[: 4 * MAX_TEXT].decode("utf-8", "ignore")[:MAX_TEXT].replace("\x00", "\ufffd")


def _file_write(tenant_id: int, content: bytes) -> StoredFile:
    name = f"{tenant_id}/{secrets.token_hex(16)}"
    with write_transaction():
        stored = StoredFile.objects.create(tenant_id=tenant_id, name=name)
    storage().save(name, ContentFile(content))
    return stored


def _remove_row(artifact: Artifact) -> None:
    SearchEntry.objects.filter(artifact=artifact).delete()
    Artifact.objects.filter(pk=artifact.pk).delete()
    StoredFile.objects.filter(pk=artifact.file_id).update(in_use=False)


def _count(space: Space, *, files: int, size: int) -> None:
    Space.objects.filter(pk=space.pk).update(
        artifact_count=F("artifact_count") + files, bytes=F("bytes") + size, updated_at=clock.now()
    )
