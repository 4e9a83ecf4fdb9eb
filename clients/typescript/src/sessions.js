/** A session as the caller holds it, and the collection of sessions of a gateway. */

import { EventStream } from "./event_stream.js";
import { EVENTS_DROPPED, SESSION_CLOSED, isTerminal } from "./events.js";
import { Replies, decisionSend } from "./replies.js";
import { socketFollow } from "./socket_stream.js";
import { sseFollow } from "./streams.js";
import { isOwn, registration, toolsByName } from "./tools.js";
import { given, pathOf, randomKey } from "./transport.js";

const PAGE = 200;
const isClosed = (event) => event.type === SESSION_CLOSED;

/** One session. `info` is what the gateway said last about it: `refresh` asks again. */
export class Session {
  #transport;
  #tools;

  constructor(transport, info, tools = new Map()) {
    this.#transport = transport;
    this.#tools = tools;
    this.info = info;
  }

  get id() {
    return this.info.sessionId;
  }

  async refresh({ signal } = {}) {
    this.info = await this.#transport.get(this.#path(), {}, signal);
    return this.info;
  }

  /** Changes fields: `systemPrompt`, `userData`, `groupId`, `title`, `tools`, `outagePolicy`. */
  async change(fields, { signal } = {}) {
    this.info = await this.#transport.json("PATCH", this.#path(), { body: fields, signal });
    return this.info;
  }

  /** Closes the session; with `purge` (scope `admin`) erases it. */
  async delete({ purge, signal } = {}) {
    await this.#transport.send("DELETE", this.#path(), { query: { purge: purge || undefined }, signal });
  }

  /** Creates a session with the history up to `messageId`; `sessionId` and `title` are optional. */
  async fork(messageId, { key, signal, ...fields } = {}) {
    const body = { messageId, ...fields };
    const info = await this.#transport.create(this.#path("fork"), body, { key, signal });
    return new Session(this.#transport, info, new Map(this.#tools));
  }

  /**
   * Sends a prompt without following it: `resume` follows it later. `fields` are `attachments`, `metadata`, `whenBusy`
   * and `endUser`; `key` is an `Idempotency-Key` that outlives this program.
   */
  async send(text, { key, signal, ...fields } = {}) {
    return this.#transport.create(this.#path("prompt"), { text, ...given(fields) }, { key, signal });
  }

  /**
   * Sends a prompt and returns the events of its run, to its end. The prompt is sent with the first `next`, once
   * however often the connection breaks. The other options are those of `send`.
   */
  prompt(text, { onApproval, onQuestion, tools, timeoutMs, via = "sse", key, signal, ...fields } = {}) {
    const own = toolsByName(tools);
    const prompt = { text, key: key ?? randomKey(), ...given(fields) };
    const open = (stop) => this.#prompt(prompt, own, via, stop);
    return this.#stream(open, { onApproval, onQuestion, tools: own, timeoutMs, signal });
  }

  /**
   * Follows a run that was sent before, from its first event or after `since`, also from another program.
   * @param {string} requestId
   * @param {import("../index.d.ts").Callbacks & import("../index.d.ts").FollowOptions} [options]
   */
  resume(requestId, { since = null, tools, ...options } = {}) {
    const open = (signal) => this.#followRun(requestId, since, signal);
    return this.#stream(open, { ...options, tools: toolsByName(tools) });
  }

  /**
   * Follows the session after `since` (0: from its first event) until it is closed.
   * @param {import("../index.d.ts").EventsOptions} [options]
   */
  events({ since = 0, tools, via = "sse", ...options } = {}) {
    const open = (signal) => this.#follow(since, via, signal);
    return this.#stream(open, { ...options, tools: toolsByName(tools) });
  }

  async approve(approvalId, { args, comment, argsHash, remember, signal } = {}) {
    const decision = { approve: true, args, comment, remember };
    await decisionSend(this.#transport, this.#path(), approvalId, decision, argsHash, signal);
  }

  async reject(approvalId, { reason, signal } = {}) {
    await decisionSend(this.#transport, this.#path(), approvalId, { approve: false, reason }, null, signal);
  }

  async respond(ref, response, { signal } = {}) {
    await this.#post("respond", { ref, response }, { signal });
  }

  /** Posts the result of a client's tool; `outcome` is `{result}` or `{error}`. */
  async toolResult(callId, outcome, { signal } = {}) {
    await this.#post("tool-results", { callId, ...outcome }, { signal });
  }

  /** Ends the current run. */
  async abort({ reason, signal } = {}) {
    await this.#post("abort", given({ reason }), { repeat: false, signal });
  }

  /** Ends or withdraws one run. */
  async abortRun(requestId, { reason, signal } = {}) {
    const path = this.#path("runs", requestId, "abort");
    await this.#transport.send("POST", path, { body: given({ reason }), repeat: false, signal });
  }

  /** Adds a text to the current run. */
  async steer(text, { signal } = {}) {
    await this.#post("steer", { text }, { repeat: false, signal });
  }

  async switchModel(model, { signal } = {}) {
    await this.#post("switch_model", { model }, { signal });
  }

  async status({ signal } = {}) {
    return this.#transport.get(this.#path("status"), {}, signal);
  }

  async stats({ signal } = {}) {
    return this.#transport.get(this.#path("stats"), {}, signal);
  }

  async run(requestId, { signal } = {}) {
    return this.#transport.get(this.#path("runs", requestId), {}, signal);
  }

  /** Yields all runs, page by page. */
  runs({ signal } = {}) {
    return pages(this.#transport, this.#path("runs"), "runs", {}, signal);
  }

  /** Yields all messages, page by page. */
  messages({ signal } = {}) {
    return pages(this.#transport, this.#path("messages"), "messages", {}, signal);
  }

  async tools({ signal } = {}) {
    return (await this.#transport.get(this.#path("tools"), {}, signal)).tools;
  }

  /** Registers a tool that this client runs, for all its streams of the session; or, without `run`, any other. */
  async addTool(added, { signal } = {}) {
    const body = isOwn(added) ? registration(added) : added;
    const info = await this.#transport.create(this.#path("tools"), body, { signal });
    if (isOwn(added)) this.#tools.set(added.name, added);
    return info;
  }

  async removeTool(name, { signal } = {}) {
    await this.#transport.send("DELETE", this.#path("tools", name), { signal });
    this.#tools.delete(name);
  }

  /** Returns `{token, expiresAt}`: a read-only token for an `EventSource` or a socket of your own. */
  async streamToken({ signal } = {}) {
    return this.#transport.json("POST", this.#path("stream-token"), { signal });
  }

  #path(...rest) {
    return "/v1/sessions" + pathOf(this.id, ...rest);
  }

  async #post(name, body, options) {
    await this.#transport.send("POST", this.#path(name), { body, ...options });
  }

  #stream(open, { onApproval, onQuestion, tools, timeoutMs, signal }) {
    const all = new Map([...this.#tools, ...tools]);
    const replies = new Replies(this.#transport, this.#path(), { onApproval, onQuestion }, all);
    return new EventStream(open, { replies, timeoutMs, signal, requestMs: this.#transport.timeouts.requestMs });
  }

  async *#prompt({ text, ...options }, tools, via, signal) {
    const known = tools.size ? (await this.tools({ signal })).map(({ name }) => name) : [];
    for (const [name, each] of tools) {
      if (!known.includes(name) || !this.#tools.has(name)) await this.addTool(each, { signal });
    }
    const since = via === "websocket" ? (await this.status({ signal })).lastEventIndex : null;
    const { requestId } = await this.send(text, { ...options, signal });
    yield* since === null ? this.#followRun(requestId, null, signal) : this.#runOnSocket(requestId, since, signal);
  }

  #followRun(requestId, since, signal) {
    const endsWith = runEnd(requestId);
    const after = positionOf(since);
    return sseFollow(this.#transport, this.#path("events"), { query: { requestId }, after, endsWith, signal });
  }

  async *#runOnSocket(requestId, since, signal) {
    for await (const event of this.#socket(since, runEnd(requestId), signal)) {
      const concerns = event.data.requestId === requestId || event.type === EVENTS_DROPPED || isClosed(event);
      if (concerns) yield event;
    }
  }

  #socket(since, endsWith, signal) {
    return socketFollow(this.#transport, this.#path(), { after: positionOf(since), endsWith, signal });
  }

  #follow(since, via, signal) {
    if (via === "websocket") return this.#socket(since, isClosed, signal);
    const query = { follow: "session" };
    const after = positionOf(since);
    return sseFollow(this.#transport, this.#path("events"), { query, after, endsWith: isClosed, signal });
  }
}

/** The sessions of the key's tenant. */
export class Sessions {
  #transport;

  constructor(transport) {
    this.#transport = transport;
  }

  /**
   * Creates a session. `tools` are tools that this client runs, names of built-in tools, or registrations; `fields` are
   * those of the protocol (`agent`, `sessionId`, `systemPrompt`, `groupId` …).
   * @param {string | null} [model]
   * @param {import("../index.d.ts").SessionOptions} [options]
   */
  async create(model, { tools = [], key, signal, ...fields } = {}) {
    const own = toolsByName(tools.filter(isOwn));
    const listed = tools.map((each) => (isOwn(each) ? registration(each) : each));
    const body = given({ model, ...fields, tools: listed.length ? listed : undefined });
    return new Session(this.#transport, await this.#transport.create("/v1/sessions", body, { key, signal }), own);
  }

  /** Returns a session that exists; `tools` are those of its tools that this client runs. */
  async get(sessionId, { tools, signal } = {}) {
    const info = await this.#transport.get("/v1/sessions" + pathOf(sessionId), {}, signal);
    return new Session(this.#transport, info, toolsByName(tools));
  }

  /** Yields sessions, newest first. Filters: `state`, `agent`, `groupId`, `since`. */
  list({ signal, ...filters } = {}) {
    return pages(this.#transport, "/v1/sessions", "sessions", filters, signal);
  }

  async delete(sessionId, { purge, signal } = {}) {
    const query = { purge: purge || undefined };
    await this.#transport.send("DELETE", "/v1/sessions" + pathOf(sessionId), { query, signal });
  }
}

/** Yields the items of all pages. */
async function* pages(transport, path, field, query, signal) {
  let cursor;
  do {
    const page = await transport.get(path, { ...query, cursor, limit: PAGE }, signal);
    yield* page[field];
    cursor = page.nextCursor;
  } while (cursor !== null && cursor !== undefined);
}

function runEnd(requestId) {
  return (event) => isClosed(event) || (isTerminal(event) && event.data.requestId === requestId);
}

function positionOf(since) {
  return since === null ? null : String(since);
}
