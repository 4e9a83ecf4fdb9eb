/**
 * The replies that a run waits for: decisions about approvals, answers to questions, results of the client's tools.
 *
 * Each runs beside the stream, so events go on meanwhile. Before the callback is called, the gateway is asked whether
 * the reply is still missing: after a restart of the client a stream shows requests that were settled long ago.
 */

import { Conflict, Gone, NotFound } from "./errors.js";
import { given, pathOf } from "./transport.js";

/** The callbacks of one stream; what has none is left to somebody else. */
export class Replies {
  #transport;
  #path;
  #onApproval;
  #onQuestion;
  #tools;

  constructor(transport, sessionPath, { onApproval, onQuestion } = {}, tools = new Map()) {
    this.#transport = transport;
    this.#path = sessionPath;
    this.#onApproval = onApproval;
    this.#onQuestion = onQuestion;
    this.#tools = tools;
  }

  /** Returns the promise of the work that `event` asks for, or null. */
  replyTo(event, signal) {
    if (event.type === "approval_required" && this.#onApproval) return this.#decide(event, signal);
    if (event.type === "ask_user" && this.#onQuestion) return this.#answer(event, signal);
    const tool = event.type === "tool_call_requested" ? this.#tools.get(event.data.toolName) : undefined;
    return tool ? this.#runTool(event, tool, signal) : null;
  }

  async #decide(event, signal) {
    const { approvalId, argsHash } = event.data;
    const { pendingApprovals } = await this.#status(signal);
    if (!pendingApprovals.some((pending) => pending.approvalId === approvalId)) return;
    const found = await this.#onApproval(event, { signal });
    signal.throwIfAborted();
    const decision = typeof found === "object" && found !== null ? found : { approve: found === true };
    // Refused where somebody else was faster, or it has expired: `approval_resolved` says what happened.
    await unless([Conflict, Gone], decisionSend(this.#transport, this.#path, approvalId, decision, argsHash, signal));
  }

  async #answer(event, signal) {
    const { ref } = event.data;
    const { pendingQuestions } = await this.#status(signal);
    if (!pendingQuestions.some((pending) => pending.ref === ref)) return;
    const response = String(await this.#onQuestion(event, { signal }));
    signal.throwIfAborted();
    await unless([Conflict, Gone], this.#post("respond", { ref, response }, signal));
  }

  async #runTool(event, tool, signal) {
    const { callId, args } = event.data;
    const { pendingTools } = await this.#status(signal);
    if (!pendingTools.some((pending) => pending.callId === callId)) return;
    let outcome;
    try {
      const result = await tool.run(args, { signal, event });
      outcome = { result: JSON.parse(JSON.stringify(result) ?? "null") }; // what is no JSON is the function's failure
    } catch (error) {
      signal.throwIfAborted();
      outcome = { error: String(error) }; // the function's own failure, which is the model's to deal with
    }
    // Sent even if the stream was closed meanwhile: the tool has done its work, and must not be asked for it again.
    await unless([Conflict, Gone, NotFound], this.#post("tool-results", { callId, ...outcome }));
  }

  async #status(signal) {
    return this.#transport.get(this.#path + "/status", {}, signal);
  }

  async #post(name, body, signal) {
    await this.#transport.send("POST", this.#path + pathOf(name), { body, signal });
  }
}

/** Sends a decision. `seen` is the hash of the arguments that it was made about, if that is known. */
export async function decisionSend(transport, sessionPath, approvalId, decision, seen, signal) {
  const { approve, args, comment, reason, remember } = decision;
  const kept = remember ? "tool" : undefined;
  const more = approve ? { argsHash: seen || undefined, args, comment, remember: kept } : { reason };
  const path = sessionPath + (approve ? "/approve" : "/reject");
  await transport.send("POST", path, { body: { approvalId, ...given(more) }, signal });
}

async function unless(kinds, work) {
  try {
    await work;
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
  }
}
