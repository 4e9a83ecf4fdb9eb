"""An agent for the tests of the `acp` engine: it acts by the first word of a prompt, also in hostile ways.

Written with the standard library only, because the tests start it hundreds of times. `noload` on its command line makes
it an agent that opens no old session.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.agents.agent_program import fork_family  # a script finds only what lies beside it

SESSION = Path("session.json")
numbers = itertools.count(1)


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def read() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    message: dict[str, Any] = json.loads(line)
    return message


class Agent:
    def __init__(self) -> None:
        self.session: dict[str, Any] = {}

    def serve(self) -> None:
        while True:
            message = read()
            if "method" in message and "id" in message:
                send(id=message["id"], **self.answer(message["method"], message.get("params") or {}))

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            return {"result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": "noload" not in sys.argv}}}
        if method == "session/new":
            self.session = {"id": f"s-{os.getpid()}", "said": []}
            self.save()
            return {"result": {"sessionId": self.session["id"]}}
        if method == "session/load":
            self.session = json.loads(SESSION.read_text(encoding="utf-8")) if SESSION.exists() else {}
            if self.session.get("id") != params["sessionId"]:
                return {"error": {"code": -32002, "message": "SECRET"}}
            for said in self.session["said"]:
                self.update("user_message_chunk", content=text_block(said))
                self.say("old answer")
            return {"result": {}}
        if method == "session/prompt":
            return self.prompt("\n".join(block["text"] for block in params["prompt"]))
        return {"error": {"code": -32601, "message": "Method not found"}}

    def save(self) -> None:
        SESSION.write_text(json.dumps(self.session), encoding="utf-8")

    def update(self, session_update: str, **fields: Any) -> None:
        update = {"sessionUpdate": session_update, **fields}
        send(method="session/update", params={"sessionId": self.session["id"], "update": update})

    def say(self, *texts: str) -> None:
        for text in texts:
            self.update("agent_message_chunk", content=text_block(text))

    def ask(self, method: str, **params: Any) -> int:
        number = next(numbers)
        send(id=number, method=method, params={"sessionId": self.session["id"], **params})
        return number

    def wait(self, *expected: int) -> dict[int, dict[str, Any]]:
        """Returns the answers to requests; ends like a cancelled agent at a `session/cancel`."""
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(expected):
            message = read()
            if message.get("method") == "session/cancel":
                Path("cancelled").touch()
                raise Cancelled
            if message.get("id") in expected:
                found[message["id"]] = message
        return found

    def permission(self, name: str, args: Any, **call: Any) -> int:
        options = [
            {"optionId": "always", "name": "Always", "kind": "allow_always"},
            {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ]
        if "bare" in sys.argv:
            options = options[:1]
        call = {"toolCallId": f"t-{name}", "title": name, "kind": "execute", "rawInput": args, **call}
        self.update("tool_call", status="pending", **call)
        with Path("asked").open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        return self.ask("session/request_permission", toolCall=call, options=options)

    def told(self, answer: dict[str, Any]) -> str:
        result = answer["result"]
        outcome = result["outcome"]
        comment = (result.get("_meta") or {}).get("comment", "")
        return f"{outcome.get('optionId', outcome['outcome'])} {comment}"

    def prompt(self, words: str) -> dict[str, Any]:
        if words.startswith("The session was interrupted"):
            words = self.session["said"][-1]
        else:
            self.session["said"].append(words)
            self.save()
        try:
            return self.act(words)
        except Cancelled:
            return {"result": {"stopReason": "cancelled"}}

    def act(self, words: str) -> dict[str, Any]:
        word, _, rest = words.partition(" ")
        if word in ("use", "both"):
            names = [rest.split(" ")[0]] if word == "use" else ["echo", "later"]
            numbers = [self.permission(name, {"x": 1}) for name in names]
            answers = self.wait(*numbers)
            told = ", ".join(self.told(answers[number]) for number in numbers)
            self.update("tool_call_update", toolCallId=f"t-{names[0]}", status="completed", rawOutput={"done": True})
            self.say("Decided: ", told)
        elif word == "twice":
            first = self.told(self.wait(self.permission("echo", {"x": 1}))[1])
            self.say("between. ")
            self.say(first, "; ", self.told(self.wait(self.permission("echo", {"x": 2}))[2]))
        elif word == "edits":
            replies = []
            for _ in range(2):
                count = len(Path("asked").read_text(encoding="utf-8").split()) if Path("asked").exists() else 0
                diff = {"type": "diff", "path": "a.txt", "newText": f"{rest} {count if rest == 'changing' else 0}"}
                asking = self.permission("later", None, content=[diff])
                replies.append(self.told(self.wait(asking)[asking]))
            self.say("; ".join(replies))
        elif word == "odd":
            send(id=[], method=5, params="x")
            self.update("of_the_future", more=1)
            send(method="session/update", params={"sessionId": 5})
            send(method="of_the_future", params={})
            number = self.ask("fs/read_text_file", path=5)
            self.say(str(self.wait(number)[number]["error"]["code"]))
        elif word == "think":
            self.update("agent_thought_chunk", content=text_block("Hm."))
            entry = {"content": "Look", "priority": "high", "status": "pending"}
            self.update("plan", entries=[entry])
            self.update("available_commands_update", availableCommands=[])
            self.say("Thought.")
        elif word == "usage":
            self.say("Counted.")
            usage = {"totalTokens": 17, "inputTokens": 5, "outputTokens": 7, "cachedReadTokens": 3, "thoughtTokens": 2}
            return {"result": {"stopReason": "end_turn", "usage": usage}}
        elif word in ("read", "write", "terminal"):
            path, _, content = rest.partition(" ")
            method = {"read": "fs/read_text_file", "write": "fs/write_text_file", "terminal": "terminal/create"}[word]
            fields = {"content": content} if word == "write" else {"command": "sh"} if word == "terminal" else {}
            number = self.ask(method, path=path.replace("CWD", os.getcwd()), **fields)
            answer = self.wait(number)[number]
            self.say(json.dumps(answer.get("result", answer.get("error", {}).get("message"))))
        elif word == "where":
            self.say(json.dumps({"cwd": os.getcwd(), "env": dict(os.environ), "argv": sys.argv[1:]}))
        elif word == "refuse":
            return {"result": {"stopReason": "refusal"}}
        elif word == "error":
            return {"error": {"code": -32000, "message": "SECRET", "data": {"details": "SECRET"}}}
        elif word == "nonsense":
            return {"result": {"stopReason": 5}}
        elif word == "fail":
            sys.stderr.write("SECRET")
            sys.exit(3)
        elif word == "crash":
            self.say("Half an ")
            os._exit(0)
        elif word == "broken":
            self.say("One. ")
            sys.stdout.write("SECRET, no JSON\n")
            sys.stdout.flush()
            time.sleep(3600)
        elif word == "flood":
            while True:
                self.say("x" * 1000)
        elif word == "requests":
            while True:
                self.ask("fs/read_text_file", path="/etc/passwd")
        elif word == "line":
            for _ in range(100):
                sys.stdout.write("x" * 1_000_000)
        elif word == "never":
            fork_family()
            self.say("ready")
            self.wait(-1)
        elif word == "deaf":
            fork_family()
            self.say("ready")
            time.sleep(3600)
        elif word == "ask":
            fork_family()
            self.say("ready")
            self.wait(self.permission("echo", {"x": 1}))
        else:
            self.say("You said ", f"{words}.")
        return {"result": {"stopReason": "end_turn"}}


class Cancelled(Exception):
    """The client has cancelled the prompt."""


def text_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


if __name__ == "__main__":
    Agent().serve()
