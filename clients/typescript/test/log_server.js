/**
 * A server of one event log over SSE, for tests: it resumes after `Last-Event-ID`, has heartbeats without an event,
 * lost the events of a generation, and cuts a connection after any number of bytes.
 */

import { createServer } from "node:http";

/** Events 1 to 4, of which 3 and 4 were lost with their generation; the log goes on at 3.77. */
export const LOG = [
  frame("1", "prompt_received", { requestId: "run", text: "é\u{1F600}" }),
  frame("2", "message_delta", { requestId: "run", delta: "a" }),
  frame("3.77", "message_delta", { requestId: "run", delta: "b\n\nc" }),
  frame("4.77", "agent_end", { requestId: "run", lastMessage: { role: "assistant", content: "abc" } }),
];

function frame(id, type, data) {
  return { id, type, data };
}

const encode = ({ id, type, data }) => `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`;

export class LogServer {
  #server = createServer((request, response) => this.#serve(request, response));
  /** Bytes after which the next response is cut; null: not. */
  cutAfter = null;
  requests = [];
  log = LOG;
  /** Replaces the next response: `(request, response)`. */
  answer = null;

  async start() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The bytes of a whole response. */
  get length() {
    return Buffer.byteLength(this.#text(null));
  }

  #text(after) {
    const lost = after === "3" || after === "4";
    const from = after === null ? 0 : this.log.findIndex(({ id }) => id === (lost ? "2" : after)) + 1;
    const dropped = { id: "2", type: "events_dropped", data: { from: Number(after), to: 2, reason: "reset" } };
    const frames = [...(lost ? [dropped] : []), ...this.log.slice(from)].map(encode);
    return "retry: 1000\n" + frames.join(": heartbeat\n\n");
  }

  async #serve(request, response) {
    const body = await new Promise((resolve) => {
      let text = "";
      request.on("data", (piece) => (text += piece)).on("end", () => resolve(text));
    });
    this.requests.push({ method: request.method, url: request.url, headers: request.headers, body });
    const answer = this.answer;
    if (answer) {
      this.answer = null;
      answer(request, response);
      return;
    }
    const bytes = Buffer.from(this.#text(request.headers["last-event-id"] ?? null));
    const cut = this.cutAfter;
    this.cutAfter = null;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.flushHeaders();
    if (cut === null) response.end(bytes);
    else response.write(bytes.subarray(0, cut), () => response.destroy());
  }
}

/** Time-outs that make no test wait. */
export const QUICK = { firstPauseMs: 1, longestPauseMs: 2, retryMs: 60_000, resumeMs: 60_000 };

export const KEY = "a-key";

/** Returns the information of a session as far as tests look at it. */
export const INFO = { sessionId: "s" };

/** Responds with JSON. */
export function json(status, body, headers = {}) {
  return (_request, response) => {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
}
