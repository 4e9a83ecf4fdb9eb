/**
 * A run as its events tell it: the prompt, thinking, texts, tool calls with their approvals, questions, notes, the end.
 *
 * Pure: no page and no network. Applying the events of a run in order gives the same items whether they come from the
 * log at once or live one by one. An item that changes gets a higher `version`.
 */

/** The run of one prompt. `items` are in the order in which they are shown. */
export class RunState {
  items = [];
  ended = false;
  endUser = null;
  #calls = new Map();
  #approvals = new Map();
  #questions = new Map();
  #message = null;
  #thinking = null;

  constructor(requestId) {
    this.requestId = requestId;
    this.position = 0;
  }

  /** Applies an event that has not been applied yet; returns false for one that was. */
  apply(event) {
    const offset = offsetOf(event.id);
    if (offset <= this.position) return false;
    this.position = offset;
    this.#take(event.type, event.data);
    return true;
  }

  #take(type, data) {
    const handler = HANDLERS[type];
    if (handler) handler.call(this, data);
    else if (type in NOTES) this.add("note", { text: type, data, at: data.at });
  }

  add(kind, fields) {
    const item = { kind, version: 0, complete: true, ...fields };
    this.items.push(item);
    return item;
  }

  change(item, fields) {
    Object.assign(item, fields);
    item.version += 1;
  }

  think(delta, at) {
    this.#thinking ??= this.add("thinking", { text: "", at, complete: false });
    this.change(this.#thinking, { text: this.#thinking.text + delta });
  }

  say(messageId, delta, at) {
    if (this.#message?.messageId !== messageId) {
      this.#message = this.add("message", { messageId, text: "", at, complete: false });
    }
    this.change(this.#message, { text: this.#message.text + delta });
  }

  endMessage(messageId, content, at) {
    if (this.#message?.messageId !== messageId) this.say(messageId, "", at);
    this.change(this.#message, { text: content, complete: true });
    this.completeResponse();
  }

  completeResponse() {
    if (this.#thinking) this.change(this.#thinking, { complete: true });
    if (this.#message && !this.#message.complete) this.change(this.#message, { complete: true });
    this.#thinking = this.#message = null;
  }

  /** Drops what the attempt that died had not completed. */
  dropPartial() {
    this.items = this.items.filter((item) => item.complete);
    this.#thinking = this.#message = null;
  }

  call(callId, fields, at) {
    const known = this.#calls.get(callId);
    if (known) this.change(known, fields);
    else this.#calls.set(callId, this.add("tool", { callId, name: "", args: null, status: "running", at, ...fields }));
  }

  approve(data) {
    this.call(data.callId, { name: data.toolName, args: data.args, status: "waiting", approval: { ...data, status: null } }, data.at);
    this.#approvals.set(data.approvalId, this.#calls.get(data.callId));
  }

  resolveApproval(data) {
    const item = this.#approvals.get(data.approvalId);
    if (!item) return;
    const { status, by, comment, at } = data;
    this.change(item, { status: status === "approved" ? "approved" : item.status, approval: { ...item.approval, status, by, comment, resolvedAt: at } });
  }

  question(data) {
    this.#questions.set(data.ref, this.add("question", { ...data, status: null }));
  }

  resolveQuestion(data) {
    const item = this.#questions.get(data.ref);
    if (item) this.change(item, { status: data.status, response: data.response, resolvedAt: data.at });
  }

  end(type, data) {
    this.completeResponse();
    this.ended = true;
    for (const item of this.items) {
      const open = (item.kind === "tool" && ["running", "waiting"].includes(item.status)) || (item.kind === "question" && !item.status);
      if (open) this.change(item, { status: item.kind === "tool" ? "rejected" : "cancelled", over: true });
    }
    this.add("end", { type, ...data });
  }
}

/** Events that are shown in a line. */
const NOTES = {
  agent_event: 1,
  context_summarized: 1,
  context_truncated: 1,
  error: 1,
  model_fallback: 1,
  model_switched: 1,
  provider_resumed: 1,
  provider_waiting: 1,
  run_retried: 1,
  session_updated: 1,
  steering_undelivered: 1,
  tool_attached: 1,
  tool_detached: 1,
  tool_unavailable: 1,
};

const HANDLERS = {
  prompt_received(data) {
    this.add("prompt", { text: data.text, queued: data.queued, at: data.at });
  },
  steering(data) {
    this.add("prompt", { text: data.text, steering: true, at: data.at });
  },
  thinking_start(data) {
    this.think("", data.at);
  },
  thinking_delta(data) {
    this.think(data.delta, data.at);
  },
  message_start(data) {
    this.say(data.messageId, "", data.at);
  },
  message_delta(data) {
    this.say(data.messageId, data.delta, data.at);
  },
  message_end(data) {
    this.endMessage(data.messageId, data.content, data.at);
  },
  tool_calls() {
    this.completeResponse();
  },
  approval_required(data) {
    this.approve(data);
  },
  approval_resolved(data) {
    this.resolveApproval(data);
  },
  tool_call_requested(data) {
    this.call(data.callId, { name: data.toolName, args: data.args, status: "waiting", byClient: true, expiresAt: data.expiresAt }, data.at);
  },
  tool_call_unknown(data) {
    this.call(data.callId, { name: data.toolName, status: "unknown" }, data.at);
  },
  tool_tested(data) {
    this.call(data.callId, { name: data.toolName, args: data.args, tested: data.by }, data.at);
  },
  tool_execution_start(data) {
    this.call(data.callId, { name: data.toolName, args: data.args, status: "running", startedAt: data.at }, data.at);
  },
  tool_execution_end(data) {
    const { toolName: name, status, result, durationMs, truncated, at } = data;
    this.call(data.callId, { name, status, result, durationMs, truncated, endedAt: at }, at);
  },
  ask_user(data) {
    this.question(data);
  },
  question_resolved(data) {
    this.resolveQuestion(data);
  },
  run_retried(data) {
    this.dropPartial();
    this.add("note", { text: "run_retried", data, at: data.at });
  },
  agent_end(data) {
    this.end("agent_end", data);
  },
  agent_abort(data) {
    this.end("agent_abort", data);
  },
};

/** Returns messages that no run of the session has said, as a run would show them: a fork's, and imported ones. */
export function stateOfMessages(messages) {
  const state = new RunState("");
  for (const { id, role, content, toolCalls, callId, createdAt: at } of messages) {
    if (role === "user") state.add("prompt", { text: content, at });
    else if (role === "tool_result") state.call(callId, { result: content, status: "ok" }, at);
    else if (content) state.add("message", { messageId: id, text: content, at });
    for (const call of toolCalls ?? []) {
      state.call(call.callId, { name: call.name, args: call.arguments, status: "unknown" }, at);
    }
  }
  return state;
}

/** Returns the offset of a position, which may have a generation behind its point. */
export function offsetOf(position) {
  return Number(String(position).split(".")[0]);
}
