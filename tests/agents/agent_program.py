"""A program for the tests of engines: it acts by the first word of its standard input, also in hostile ways."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SESSION = "0a1b2c3d-0000-4000-8000-00000000000a"


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def note(*pids: int) -> None:
    """Tells the test which processes there are, in the session's directory."""
    with open("pids", "a", encoding="utf-8") as file:
        file.write("".join(f"{pid}\n" for pid in pids))


def fork_family() -> None:
    """Forks a child, one in a session of its own, and an orphan of that; all of them stay."""
    note(os.getpid())
    if os.fork() == 0:
        note(os.getpid())
        time.sleep(3600)
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        note(os.getpid())
        time.sleep(3600)
    while Path("pids").read_text(encoding="utf-8").count("\n") < 3:
        time.sleep(0.01)


def act(words: str) -> None:
    word = words.split(" ")[0]
    if word == "flood":
        while True:
            print("x" * 1000, flush=True)
    elif word == "line":
        for _ in range(100):
            sys.stdout.write("x" * 1_000_000)
    elif word in ("never", "family"):
        fork_family()
        print("ready", flush=True)
        if word == "never":
            time.sleep(3600)
    elif word == "memory":
        bytearray(2_000_000_000)
    elif word == "fail":
        sys.stderr.write("SECRET")
        sys.exit(3)
    elif word == "where":
        print(json.dumps({"cwd": os.getcwd(), "env": dict(os.environ), "argv": sys.argv[1:]}))
    elif word == "deaf":
        print("not listening")
    else:
        print(f"You said\n{words}.", flush=True)


def act_as_claude(words: str) -> None:
    resumed = sys.argv[sys.argv.index("--resume") + 1] if "--resume" in sys.argv else None
    if words == "broken":
        print('{"type":"system"}\nSECRET, no JSON', flush=True)
        time.sleep(3600)
    if words == "none":
        return
    say({"type": "system", "subtype": "init", "session_id": SESSION})
    for piece in ("You said ", f"{words}{' again' if resumed == SESSION else ''}."):
        say({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"text": piece}}})
    content = [
        {"type": "text", "text": "seen already"},
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
    ]
    say({"type": "assistant", "message": {"content": content}})
    failed = words == "fail"
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 2}
    say(
        {
            "type": "result",
            "subtype": "error_during_execution" if failed else "success",
            "is_error": failed,
            "result": "SECRET" if failed else "",
            "session_id": SESSION,
            "usage": usage,
            "total_cost_usd": 0.25,
        }
    )


def act_as_openclaw() -> None:
    """Answers in the form of `openclaw agent --json`, below a line of a log."""
    message = Path(sys.argv[sys.argv.index("--message-file") + 1])
    words = message.read_text(encoding="utf-8")
    mode = message.stat().st_mode & 0o777
    session = Path(sys.argv[sys.argv.index("--session-id") + 1])
    again = " again" if session.exists() and words == "more" else ""
    session.touch()
    if words == "broken":
        print('[log] {"x": 1}\nSECRET, no JSON')
        return
    texts = {"none": [], "where": [json.dumps({"argv": sys.argv[1:], "mode": mode})]}
    texts["fail"] = texts["none"]
    payloads = [{"text": text} for text in texts.get(words, ["You said", f"{words}{again}."])]
    usage = {"input": 5, "output": 7, "cacheRead": 2, "total": 14}
    answer = {"payloads": payloads, "meta": {"durationMs": 1, "agentMeta": {"usage": usage}}}
    print("[log] starting {")
    print(json.dumps({"status": "ok", "result": answer} if "--local" not in sys.argv else answer, indent=2))
    if words == "fail":
        sys.stderr.write("SECRET")
        sys.exit(1)


def main() -> None:
    if sys.argv[1:2] == ["deaf"]:
        print("not listening")
        return
    if "--message-file" in sys.argv:
        act_as_openclaw()
        return
    words = sys.stdin.read()
    if "stream-json" in sys.argv:
        act_as_claude(words)
    else:
        act(words)


if __name__ == "__main__":
    main()
