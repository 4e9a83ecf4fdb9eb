/**
 * The log of a session, run by run: what is there is read in pages, and what comes is followed from the position that the
 * page was made at. Every event is handed over once and in order, whatever breaks in between.
 */

import { gateway, pathOf, transport } from "../api.js";
import { offsetOf } from "./run_state.js";

const RUNS = 8;
const PAGE = 1_000;
const MESSAGES = 200;

/** What is read of a run that has ended: its deltas are in the texts that they became. */
const WITHOUT_DELTAS = [
  "prompt_received", "agent_start", "message_start", "message_end", "thinking_start", "thinking_delta", "tool_calls", "tool_execution_start",
  "tool_execution_end", "tool_call_requested", "tool_call_unknown", "tool_tested", "approval_required", "approval_resolved", "ask_user",
  "question_resolved", "steering", "steering_undelivered", "run_retried", "error", "agent_end", "agent_abort", "provider_waiting",
  "provider_resumed", "model_switched", "model_fallback", "context_truncated", "context_summarized", "agent_event", "tool_unavailable",
].join(",");

export class SessionLog {
  #path;
  #cursor = null;
  #session = null;

  constructor(sessionId) {
    this.sessionId = sessionId;
    this.#path = `/v1/sessions${pathOf(sessionId)}`;
  }

  get path() {
    return this.#path;
  }

  /** Returns the next older runs, the oldest of them first, and whether there are more. */
  async earlierRuns() {
    const query = { limit: RUNS, cursor: this.#cursor };
    const { runs, nextCursor } = await transport.get(`${this.#path}/runs`, query);
    this.#cursor = nextCursor;
    return { runs: runs.reverse(), more: nextCursor !== null };
  }

  /** Returns the messages at the beginning that belong to no run here. */
  async messagesBefore() {
    const found = [];
    let cursor = null;
    do {
      const { messages, nextCursor } = await transport.get(`${this.#path}/messages`, { limit: MESSAGES, cursor });
      const own = messages.findIndex((message) => message.requestId !== null);
      found.push(...(own < 0 ? messages : messages.slice(0, own)));
      cursor = own < 0 ? nextCursor : null;
    } while (cursor !== null);
    return found;
  }

  /** Yields the events of a run that are in the log. */
  async *runEvents(run) {
    const types = run.endedAt ? WITHOUT_DELTAS : undefined;
    let since = 0;
    do {
      const query = { format: "json", requestId: run.requestId, limit: PAGE, since, types };
      const { events, nextCursor } = await transport.get(`${this.#path}/events`, query);
      for (const { id, event, data } of events) yield { id: String(id), type: event, data };
      since = nextCursor;
    } while (since !== null);
  }

  /** Follows the session after a position, until it is closed. */
  async *follow(since, signal) {
    this.#session ??= await gateway.sessions.get(this.sessionId, { signal });
    yield* this.#session.events({ since, signal });
  }

  /** Returns the model responses of a run with their costs. */
  async responses(requestId) {
    return (await transport.get(`${this.#path}/runs${pathOf(requestId, "responses")}`)).responses;
  }
}

export { offsetOf };
