/**
 * The timeline of a run: its legs, model responses, tool calls and waits, with when they began, how long they took, and
 * what a response cost. Made from the run's events; costs come from the run's model responses.
 */

/** Collects the spans of one run. Pure; `spans` are `{kind, name, start, end, status, attempt, cost, tokens}`. */
export class Timeline {
  spans = [];
  attempt = 1;
  #leg = null;
  #model = null;
  #calls = new Map();
  #waits = new Map();
  #legs = 0;
  /** Calls that are executed now: counted, because a run may have thousands. */
  #running = 0;

  apply({ type, data }) {
    const at = Date.parse(data.at);
    const handler = SPANS[type];
    if (handler) handler.call(this, data, at);
  }

  /** Puts the cost of each model response on the span that it belongs to; others become spans of their own. */
  addCosts(responses) {
    const open = this.spans.filter((span) => span.kind === "model");
    for (const response of responses) {
      const at = Date.parse(response.at);
      const fields = { cost: response.costUsd, tokens: response.tokenUsage.totalTokens, priced: response.costUsd !== null };
      const index = open.findIndex((span) => span.cost === undefined && at >= span.start && at <= (span.end ?? Infinity) + 2_000);
      if (index >= 0) Object.assign(open.splice(index, 1)[0], fields, { name: response.model });
      else this.spans.push({ kind: "model", name: response.model, start: at, end: at, attempt: this.attempt, ...fields });
    }
  }

  open(kind, name, start, fields = {}) {
    const span = { kind, name, start, end: null, status: null, attempt: this.attempt, ...fields };
    this.spans.push(span);
    return span;
  }

  startLeg(at) {
    if (this.#leg) return;
    this.#legs += 1;
    this.#leg = this.open("leg", String(this.#legs), at);
    this.#model = this.open("model", "", at);
  }

  endLeg(at, status = null) {
    this.endModel(at, status);
    if (this.#leg) Object.assign(this.#leg, { end: at, status });
    this.#leg = null;
  }

  endModel(at, status = null) {
    if (!this.#model) return;
    Object.assign(this.#model, { end: at, status });
    this.#model = null;
  }

  /** Forgets a model response that was expected: a tool is executed first. */
  #dropModel() {
    if (this.#model && this.#model.first === undefined) this.spans.splice(this.spans.lastIndexOf(this.#model), 1);
    this.#model = null;
  }

  firstToken(at) {
    if (this.#model && this.#model.first === undefined) this.#model.first = at;
  }

  startCall(data, at) {
    if (this.#calls.has(data.callId)) return;
    this.startLeg(at);
    this.#dropModel();
    this.#calls.set(data.callId, this.open("tool", data.toolName, at));
    this.#running += 1;
  }

  endCall(data, at) {
    this.startCall(data, at - (data.durationMs ?? 0));
    const span = this.#calls.get(data.callId);
    if (span.end === null) this.#running -= 1;
    Object.assign(span, { end: at, status: data.status });
    if (this.#waits.has(data.callId)) this.endWait(data.callId, at, data.status);
    else this.#goOn(at);
  }

  startWait(key, name, at) {
    this.#waits.set(key, this.open("wait", name, at));
    this.#pause(at);
  }

  endWait(key, at, status) {
    const span = this.#waits.get(key);
    if (span && span.end === null) Object.assign(span, { end: at, status });
    this.#waits.delete(key);
    this.#goOn(at);
  }

  /** A leg ends when everything that is left waits for somebody. */
  #pause(at) {
    if (!this.#running) this.endLeg(at, "waiting");
  }

  #goOn(at) {
    if (this.#waits.size) {
      this.#pause(at);
      return;
    }
    if (!this.#leg) this.startLeg(at);
    else if (!this.#running && !this.#model) this.#model = this.open("model", "", at);
  }

  finish(at, status) {
    for (const span of this.spans) if (span.end === null) Object.assign(span, { end: at, status: span.status ?? status });
    const last = this.spans.at(-1);
    if (last?.kind === "model" && last.start === at && last.cost === undefined) this.spans.pop();
  }

  retry(data, at) {
    for (const span of this.spans) if (span.end === null) Object.assign(span, { end: at, status: "error" });
    this.#leg = this.#model = null;
    this.#running = 0;
    this.attempt = data.attempt;
    this.startLeg(at);
  }
}

const SPANS = {
  prompt_received(data, at) {
    this.queued = this.open("wait", "queue", at);
  },
  agent_start(data, at) {
    if (this.queued) Object.assign(this.queued, { end: at, status: "ok" });
    this.startLeg(at);
  },
  thinking_start(data, at) {
    this.firstToken(at);
  },
  message_start(data, at) {
    this.firstToken(at);
  },
  message_end(data, at) {
    this.endModel(at);
  },
  tool_calls(data, at) {
    this.endModel(at);
  },
  tool_execution_start(data, at) {
    this.startCall(data, at);
  },
  tool_execution_end(data, at) {
    this.endCall(data, at);
  },
  approval_required(data, at) {
    this.startWait(data.approvalId, data.toolName, at);
  },
  approval_resolved(data, at) {
    this.endWait(data.approvalId, at, data.status);
  },
  ask_user(data, at) {
    this.startWait(data.ref, "ask_user", at);
  },
  question_resolved(data, at) {
    this.endWait(data.ref, at, data.status);
  },
  tool_call_requested(data, at) {
    this.startWait(data.callId, data.toolName, at);
  },
  provider_waiting(data, at) {
    this.endLeg(at, "waiting");
    this.startWait("provider", "provider", at);
  },
  provider_resumed(data, at) {
    this.endWait("provider", at, "ok");
  },
  run_retried(data, at) {
    this.retry(data, at);
  },
  agent_end(data, at) {
    this.finish(at, "ok");
  },
  agent_abort(data, at) {
    this.finish(at, "aborted");
  },
};
