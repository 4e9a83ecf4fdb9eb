"""Parent of one agent program, a process of its own: `supervisor.py <lifeline fd> <memory bytes> <command> [args]`.

It gives the program a session of its own and a memory limit, and kills it with everything that it started, in whatever
group, once the program has ended or the lifeline is closed. The gateway holds the other end of the lifeline, so the
same happens when the gateway is killed. It imports the standard library only and runs isolated from site packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 2000
PAUSE_SECONDS = 0.005
NOT_STARTED = 127


def set_process_option(option: int, value: int) -> None:
    """Calls prctl; does nothing where there is none. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def find_descendants() -> list[int]:
    """Returns the ids of all descendants, from the process table; none where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(entry.parent.name)] = int(fields[1])
    found: list[int] = []
    circle = {os.getpid()}
    while circle := {pid for pid, parent in parents.items() if parent in circle}:
        found += circle
    return found


def kill_descendants(program: int) -> None:
    """Kills and reaps until there are no descendants. They are stopped first, so that a fork bomb loses the race."""
    for _ in range(ROUNDS):
        found = find_descendants()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        with contextlib.suppress(OSError):
            os.killpg(program, signal.SIGKILL)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return
        time.sleep(PAUSE_SECONDS)


def watch_lifeline(lifeline: int, program: int) -> None:
    """Kills everything and exits once the lifeline is closed."""
    os.read(lifeline, 1)
    kill_descendants(program)
    os._exit(128 + signal.SIGKILL)


def run_program(lifeline: int, memory: int, command: list[str]) -> None:
    """Becomes the program, in the child."""
    os.close(lifeline)
    os.setsid()
    # A program whose supervisor was killed ends with it.
    set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        os.execvp(command[0], command)  # noqa: S606  # there is no shell, and the command is the operator's
    except OSError:
        os._exit(NOT_STARTED)


def main(arguments: list[str]) -> None:
    """Runs the program to its end, and ends like it."""
    lifeline, memory, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    # Orphans among the descendants become children of this process, so that none escapes.
    set_process_option(PR_SET_CHILD_SUBREAPER, 1)
    program = os.fork()
    if not program:
        run_program(lifeline, memory, command)
    for standard in (0, 1, 2):
        # The program alone holds the pipes, so that their ends are its ends.
        os.close(standard)
    threading.Thread(target=watch_lifeline, args=(lifeline, program), daemon=True).start()
    status = 0
    while True:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(-1, 0)
            if pid != program:
                continue
        break
    kill_descendants(program)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
