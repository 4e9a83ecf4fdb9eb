"""Forks refer to the contents of attachments and hold the source's lock for a look only."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from agents_app.engine import Attachment
from core_app.database import write_transaction
from events_app.models import Stream
from sessions_app.legs.history import attachment_read, history_load
from sessions_app.models import AgentSession, AttachmentContent, Message, PromptAttachment, Run
from sessions_app.services import fork as fork_module
from sessions_app.services.attachments import attachments_store
from sessions_app.services.erasure import end_user_erase, session_end, session_erase, sessions_remove
from sessions_app.services.fork import session_fork
from sessions_app.services.history import messages_copy
from sessions_app.services.messages import message_add
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller
from tests.settings import DEPLOYMENT

pytestmark = pytest.mark.django_db(transaction=True)

PICTURE = b"picture" * 1000


@pytest.fixture
def source(owner: Caller) -> AgentSession:
    """A session with a message that has an attachment."""
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo"))
    run = Run.objects.create(tenant_id=session.tenant_id, session=session, number=1, text="see", state="queued")
    run.end_user = "ann"
    run.save()
    message = message_add(session_id=session.pk, run_id=run.pk, role="user", content="see")
    attachments_store(run=run, parts=[Attachment("image", "image/png", "a.png", data=PICTURE)])
    PromptAttachment.objects.filter(run=run).update(message=message)
    Run.objects.filter(pk=run.pk).update(state="aborted", ended_at=session.created_at, last_offset=1)
    session.refresh_from_db()
    return session


def fork(owner: Caller, source: AgentSession) -> AgentSession:
    message = Message.objects.filter(session=source).latest("number")
    return session_fork(principal=owner.principal, public_id=source.public_id, message_id=message.pk)


def read(session: AgentSession) -> bytes | None:
    (attachment,) = history_load(session)[0].attachments
    assert attachment.stored is not None
    assert attachment.size == len(PICTURE)
    return attachment_read(session_id=session.pk, pk=attachment.stored)


def test_a_fork_reads_what_its_source_has_and_stores_no_byte_again(owner: Caller, source: AgentSession) -> None:
    with CaptureQueriesContext(connection) as asked:
        copies = [fork(owner, source) for _ in range(3)]
    assert [read(session) for session in [source, *copies]] == [PICTURE] * 4
    assert AttachmentContent.objects.count() == 1
    assert [query["sql"] for query in asked if "sessions_app_attachmentcontent" in query["sql"]] == []


def test_a_content_goes_with_its_last_attachment(owner: Caller, source: AgentSession) -> None:
    first, second = fork(owner, source), fork(owner, source)
    for session in (source, first):
        session_erase(tenant_id=source.tenant_id, public_id=session.public_id, actor="test")
        assert read(second) == PICTURE
    session_end(second)
    second.refresh_from_db()
    sessions_remove([second])
    assert not AttachmentContent.objects.exists()


def test_the_erasure_of_an_end_user_takes_the_contents_of_all_copies(owner: Caller, source: AgentSession) -> None:
    copy = fork(owner, source)
    message_add(session_id=copy.pk, run_id=None, role="user", content="mine")
    Message.objects.filter(session=copy, content="mine").update(end_user="bob")
    end_user_erase(tenant_id=source.tenant_id, end_user="ann", actor="test")
    assert not AgentSession.objects.filter(pk=source.pk).exists()
    assert AgentSession.objects.filter(pk=copy.pk).exists()
    assert not PromptAttachment.objects.exists()
    assert not AttachmentContent.objects.exists()


def test_bytes_of_the_version_before_are_moved_once(owner: Caller, source: AgentSession) -> None:
    with write_transaction():
        PromptAttachment.objects.update(content=None, data=PICTURE)
        AttachmentContent.objects.all().delete()
    assert read(source) == PICTURE
    copies = [fork(owner, source), fork(owner, source)]
    assert [read(session) for session in [source, *copies]] == [PICTURE] * 3
    assert AttachmentContent.objects.count() == 1
    assert not PromptAttachment.objects.filter(data__isnull=False).exists()


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite locks the database, not rows")
def test_a_fork_holds_no_lock_of_its_source_while_it_copies(
    owner: Caller, source: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the source was locked until everything was read and written again: 13 s for eighty megabytes."""
    copy, locked = messages_copy, []

    def lock_elsewhere() -> None:
        with write_transaction():
            Stream.objects.select_for_update(nowait=True).get(pk=source.stream_id)
            locked.append(source.stream_id)
        connections.close_all()

    def copy_and_look(**given: Any) -> None:
        copy(**given)
        other = threading.Thread(target=lock_elsewhere)
        other.start()
        other.join(60)

    monkeypatch.setattr(fork_module, "messages_copy", copy_and_look)
    fork(owner, source)
    assert locked == [source.stream_id]
