"""Fills a state as `scale_rows` does, and adds a session whose one run has 20,000 events, most of them of tool calls.

Run as `python -m tests.benchmarks.console_rows SESSIONS`; prints what `scale_rows` prints.
"""

from __future__ import annotations

import django

from tests.benchmarks import scale_rows

EVENTS = 20_000
BATCH = 1_000
SESSION = "one-long-run"


def main() -> None:
    scale_rows.main()
    from core_app import clock, jsontext
    from core_app.database import write_transaction
    from events_app import log
    from events_app.types import Event
    from sessions_app.events import AgentEnd, AgentStart, ToolCalls
    from sessions_app.models import Run, RunState, SessionState
    from sessions_app.services.prompt import Prompt, prompt_accept
    from sessions_app.services.session import SessionRequest, session_create
    from tenants_app.authentication import principal_for_user
    from tenants_app.models import User
    from tools_app.events import ToolExecutionEnd, ToolExecutionStart

    def call(number: int) -> list[Event]:
        call_id, name = f"call_of_{number}", "lookup"
        arguments = {"query": f"What is known of number {number}?", "limit": 20}
        return [
            ToolCalls(count=1),
            ToolExecutionStart(call_id=call_id, tool_name=name, args=arguments),
            ToolExecutionEnd(
                call_id=call_id,
                tool_name=name,
                status="ok",
                result=jsontext.encode_text(arguments),
                duration_ms=number % 900,
            ),
        ]

    principal = principal_for_user(User.objects.get(username="ann"))
    with write_transaction():
        session = session_create(principal=principal, request=SessionRequest(model="demo:echo", public_id=SESSION))
        receipt = prompt_accept(principal=principal, public_id=SESSION, prompt=Prompt(text="Look everything up."))
        log.append(session.stream_id, [AgentStart(model="demo:echo")], run_id=receipt.run_pk)
    events = [event for number in range(EVENTS // 3) for event in call(number)]
    for start in range(0, len(events), BATCH):
        with write_transaction():
            log.append(session.stream_id, events[start : start + BATCH], run_id=receipt.run_pk)
    usage = {"promptTokens": 1, "completionTokens": 1, "totalTokens": 2, "cachedTokens": 0, "reasoningTokens": 0}
    end = AgentEnd(
        last_message={"role": "assistant", "content": "Done."},
        token_usage=usage,
        cost_usd=0.0,
        cost_known=True,
        duration_ms=1,
    )
    with write_transaction():
        stored = log.append(session.stream_id, [end], run_id=receipt.run_pk)
        ended = {"state": RunState.COMPLETED, "end_reason": "completed", "ended_at": clock.now()}
        Run.objects.filter(pk=receipt.run_pk).update(**ended, last_offset=stored[-1].offset)
        type(session).objects.filter(pk=session.pk).update(state=SessionState.IDLE)


if __name__ == "__main__":
    django.setup()
    main()
