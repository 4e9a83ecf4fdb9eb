"""Several server processes of one machine behind one port: the parent that starts, watches and stops them.

Each process listens on the port by itself (SO_REUSEPORT), and the system spreads connections over them. One that ends
is started again, after a pause that grows while it keeps ending early; the others serve meanwhile. SIGTERM and SIGINT
drain all of them, a second one ends them at once. A process whose parent is gone drains, too, so that nothing is left
behind. The parent reads no request and holds no connection to a database.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog
from django.conf import settings

from gateway_project.process.server import GIVE_UP_SECONDS

TICK_SECONDS = 0.1
STEADY_SECONDS = 60.0
"""A process that lived so long is started again at once."""

MAX_PAUSE_SECONDS = 30.0
END_SECONDS = 5.0
"""The time between the latest end that a stop of a server takes and SIGKILL."""

logger = structlog.get_logger("gateway.serve")


class ServerProcess:
    """One server process, which is started again and again. `number` counts from 0."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.ready = False
        self.early_ends = 0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._report = -1
        self._leash = -1
        self._started = 0.0
        self._next_start = 0.0

    @property
    def alive(self) -> bool:
        """True until the process has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        """True when it has been started, has ended, and its end is not noted yet."""
        return self._process is not None and self._process.poll() is not None

    @property
    def is_due(self) -> bool:
        """True when the pause after its last end is over."""
        return time.monotonic() >= self._next_start

    def start(self) -> None:
        """Starts the process in a group of its own, which a terminal's Ctrl-C does not reach: the parent passes it on.

        Of two pipes, one reports that the process serves, and the other tells it by its end that the parent is gone.
        """
        self._report, report = os.pipe()
        leash, self._leash = os.pipe()
        os.set_blocking(self._report, False)
        member = ["--member", f"{self.number},{report},{leash}"]
        self._process = subprocess.Popen(  # noqa: S603  (this program itself)
            [*self._command, *member], pass_fds=(report, leash), process_group=0
        )
        os.close(report)
        os.close(leash)
        self._started = time.monotonic()

    def read_report(self) -> None:
        """Notes that the process serves, once it has said so."""
        if self._report < 0:
            return
        try:
            self.ready = self.ready or os.read(self._report, 1) != b""
        except BlockingIOError:
            return
        self._close_report()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if the process lives."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def note_end(self) -> int:
        """Waits for the end of the process, plans its next start and returns its exit code; 0 for one that does not
        run."""
        if self._process is None:
            return 0
        code = self._process.wait()
        self._close_report()
        os.close(self._leash)
        lived = time.monotonic() - self._started
        self.early_ends = 0 if lived >= STEADY_SECONDS else self.early_ends + 1
        pause = min(2.0 ** (self.early_ends - 1), MAX_PAUSE_SECONDS) if self.early_ends > 1 else 0.0
        self._next_start = time.monotonic() + pause
        self._process, self.ready = None, False
        return code

    def _close_report(self) -> None:
        if self._report >= 0:
            os.close(self._report)
            self._report = -1


class ServerProcesses:
    """The processes of one `serve`."""

    def __init__(self, count: int, command: Sequence[str], *, on_ready: Callable[[], None]) -> None:
        """Takes the command of a process, and `on_ready`, which is called once when all of them serve."""
        self._members = [ServerProcess(number, command) for number in range(count)]
        self._on_ready: Callable[[], None] | None = on_ready
        self._stops = 0

    def run(self) -> int:
        """Starts the processes and watches them until a signal stops them; returns the exit code.

        A process that ends before all have served once ends the others, with exit code 1: it has said why.
        """
        before = {number: signal.signal(number, self._note_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for member in self._members:
                member.start()
            code = self._watch()
            return max(code, self._end())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1

    def _watch(self) -> int:
        while not self._stops:
            for member in self._members:
                member.read_report()
                if not member.alive and not self._bring_back(member):
                    return 1
            if self._on_ready is not None and all(member.ready for member in self._members):
                self._on_ready()
                self._on_ready = None
            time.sleep(TICK_SECONDS)
        return 0

    def _bring_back(self, member: ServerProcess) -> bool:
        """Starts a process that has ended, when its pause is over; returns False where the first start has failed."""
        if member.has_ended:
            code = member.note_end()
            if self._on_ready is not None:
                return False
            logger.warning("process_ended", process=member.number, exit_code=code, early_ends=member.early_ends)
        if member.is_due:
            member.start()
        return True

    def _end(self) -> int:
        """Drains the processes and waits for them; returns 1 where one did not end well."""
        until = time.monotonic() + settings.GATEWAY_DRAIN_SECONDS + GIVE_UP_SECONDS + END_SECONDS
        self._send(signal.SIGTERM)
        passed_on = max(1, self._stops)
        while any(member.alive for member in self._members) and time.monotonic() < until:
            if self._stops > passed_on:
                passed_on = self._stops
                self._send(signal.SIGTERM)
            time.sleep(TICK_SECONDS)
        self._send(signal.SIGKILL)
        codes = [member.note_end() for member in self._members]
        return 1 if any(codes) else 0

    def _send(self, number: signal.Signals) -> None:
        for member in self._members:
            member.signal(number)


class Member:
    """A server process as seen by itself: its `number`, and the ends of the pipes to its parent, from `--member`."""

    def __init__(self, given: str) -> None:
        """Takes `number,report,leash`."""
        self.number, self._report, self._leash = (int(part) for part in given.split(","))

    def report_ready(self) -> None:
        """Tells the parent that this process serves."""
        os.write(self._report, b"1")
        os.close(self._report)

    def follow_parent(self) -> None:
        """Drains this process when its parent is gone."""
        threading.Thread(target=self._wait_for_parent, name="parent-watch", daemon=True).start()

    def _wait_for_parent(self) -> None:
        os.read(self._leash, 1)
        os.kill(os.getpid(), signal.SIGTERM)
