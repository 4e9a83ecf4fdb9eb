"""The events of runs as a person sees them: text as Markdown, thinking folded, tools in a line or two."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from gateway_client import events
from gateway_client.cli.live_markdown import MarkdownWriter
from gateway_client.cli.plain_text import clean, one_line
from gateway_client.cli.screen import Screen
from gateway_client.events import Event

DRAWN_PER_SECOND = 10
ARGS_SHOWN, RESULT_SHOWN = 120, 160


class RunView:
    """The runs as they are shown. `prompts`: those of others too; `thinking`: unfolded. Without a terminal the text
    comes as it is, and the rest on standard error."""

    def __init__(self, screen: Screen, *, thinking: bool = False, prompts: bool = False, drawn: bool = True) -> None:
        self._screen = screen
        self._thinking_shown = thinking
        self._prompts = prompts
        self._draws = drawn and screen.interactive
        self._writer = MarkdownWriter(screen.out)
        self._live: Live | None = None
        self._state = "Working"
        self._thought = ""
        self._thinking_since = 0.0
        self._wrote = False

    def __enter__(self) -> RunView:
        if self._draws:
            self._live = Live(
                console=self._screen.out,
                get_renderable=self._drawn,
                refresh_per_second=DRAWN_PER_SECOND,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves the terminal to somebody else meanwhile, with everything printed that is there."""
        self._stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def note(self, text: str, style: str = "dim") -> None:
        """Tells something above what is drawn, to standard error where nothing is."""
        self._message_end()
        console = self._screen.out if self._live is not None else self._screen.err
        console.print(Text(clean(text), style=style), soft_wrap=self._live is None)

    def show(self, event: Event) -> None:
        """Shows an event. Types that it does not know are passed over."""
        if self._screen.as_json:
            self._screen.line({"event": event.type, "data": event.data, "id": event.id})
            return
        if self._thought and not isinstance(event, (events.ThinkingStart, events.ThinkingDelta)):
            self._thinking_end()
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def _stop(self) -> None:
        self._message_end()
        if self._live is not None:
            self._live.stop()

    def _drawn(self) -> RenderableType:
        state = Spinner("dots", Text(f" {self._state}… (Ctrl-C aborts)", style="dim"))
        return Group(self._writer.tail, state) if self._wrote else state

    def _prompt(self, event: Event) -> None:
        if self._prompts:
            self.note(f"\n› {event.data.get('text', '')}", "bold")

    def _delta(self, event: Event) -> None:
        self._state = "Writing"
        self._wrote = True
        if self._live is None:
            self._screen.out.print(Text(clean(event.data["delta"])), end="", soft_wrap=True)
        else:
            self._writer.feed(event.data["delta"])

    def _message_end(self, event: Event | None = None) -> None:
        if not self._wrote:
            return
        self._wrote = False
        if self._live is None:
            self._screen.out.print()
        else:
            self._writer.finish()
        self._state = "Working"

    def _thinking(self, event: Event) -> None:
        if not self._thought:
            self._thinking_since = time.monotonic()
        self._thought += event.data.get("delta", "")
        self._state = f"Thinking, {len(self._thought.split())} words"

    def _thinking_end(self) -> None:
        seconds = time.monotonic() - self._thinking_since
        if self._thinking_shown:
            self.note(self._thought.strip(), "dim italic")
        else:
            self.note(f"✻ Thought for {seconds:.0f} s, {len(self._thought.split())} words (--thinking shows them)")
        self._thought, self._state = "", "Working"

    def _tool_start(self, event: Event) -> None:
        self._state = f"Running {one_line(event.data['toolName'], 40)}"
        self.note(_call_text(event), "cyan")

    def _tool_end(self, event: Event) -> None:
        status, seconds = event.data["status"], event.data.get("durationMs", 0) / 1000
        result = one_line(str(event.data.get("result", "")), RESULT_SHOWN)
        self.note(f"  ⎿ {status} in {seconds:.1f} s: {result}", "dim" if status == "ok" else "yellow")
        self._state = "Working"

    def _client_tool(self, event: Event) -> None:
        self._state = "Waiting for the client that has this tool"
        self.note(_call_text(event), "cyan")

    def _retried(self, event: Event) -> None:
        if self._live is not None:
            self._writer.discard()
            self._wrote = False
        self.note("The attempt was cut off and starts again: what it wrote is void.", "yellow")

    def _waiting(self, event: Event) -> None:
        self._state = "Waiting for the provider"
        self.note(f"The provider cannot be asked until {event.data['until']}: {event.data['reason']}", "yellow")

    def _resolved(self, event: Event) -> None:
        by = event.data.get("by")
        self.note(f"  {event.data['status']}{f' by {one_line(by, 60)}' if by else ''}")

    def _dropped(self, event: Event) -> None:
        reset = event.data.get("reason") == "reset"
        self.note("Events were lost; what is above may be void." if reset else "Older events are no longer kept.")

    def _error(self, event: Event) -> None:
        self.note(f"{event.data.get('code')}: {event.data.get('reason')}", "red")

    def _end(self, event: Event) -> None:
        self._message_end()
        tokens = event.data.get("tokenUsage", {}).get("totalTokens", 0)
        cost = event.data.get("costUsd", 0)
        parts = [f"{event.data.get('durationMs', 0) / 1000:.1f} s"]
        parts += [f"{tokens:,} tokens"] if tokens else []
        parts += [f"${cost:.4f}"] if cost else []
        self.note(" · ".join(parts))

    def _abort(self, event: Event) -> None:
        message = event.data.get("message")
        self.note(f"Ended: {event.data['reason']}{f' ({message})' if message else ''}", "yellow")

    def _closed(self, event: Event) -> None:
        self.note("The session is closed.")


def _call_text(event: Event) -> str:
    args = event.data.get("args")
    shown = one_line(json.dumps(args, ensure_ascii=False), ARGS_SHOWN) if args else ""
    return f"● {one_line(event.data['toolName'], 60)} {shown}"


_HANDLERS = {
    events.PromptReceived.kind: RunView._prompt,
    events.MessageDelta.kind: RunView._delta,
    events.MessageEnd.kind: RunView._message_end,
    events.ThinkingDelta.kind: RunView._thinking,
    events.ToolExecutionStart.kind: RunView._tool_start,
    events.ToolExecutionEnd.kind: RunView._tool_end,
    events.ToolCallRequested.kind: RunView._client_tool,
    events.RunRetried.kind: RunView._retried,
    events.ProviderWaiting.kind: RunView._waiting,
    events.ApprovalResolved.kind: RunView._resolved,
    events.QuestionResolved.kind: RunView._resolved,
    events.EventsDropped.kind: RunView._dropped,
    events.ErrorEvent.kind: RunView._error,
    events.AgentEnd.kind: RunView._end,
    events.AgentAbort.kind: RunView._abort,
    events.SessionClosed.kind: RunView._closed,
}
