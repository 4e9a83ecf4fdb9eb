/**
 * The WebSocket of a session as a stream that resumes by itself.
 *
 * A browser's WebSocket sends no headers, so it is opened with a token of the session, which may read only. It does not
 * say why it was refused either: then the next attempt asks for a new token first, and gets the reason. What the caller
 * does not take in time is not kept: the socket is closed, and opened again where the caller has come to.
 */

import { Backoff } from "./backoff.js";
import { APIError, GatewayError, RateLimited, Unauthorized, errorFromResponse } from "./errors.js";
import { eventDecode, parseObject } from "./events.js";
import { REPEATABLE_STATUSES, queryText } from "./transport.js";

const SESSION_CLOSED = 4500;
const UNAUTHORIZED = 4501;
const TOO_MANY_FRAMES = 1008;
const isFinal = (code) => code >= 4500 && code < 5000;

/** The most that waits for the caller. */
const MOST_FRAMES = 10_000;
const MOST_CHARACTERS = 4 * 1024 * 1024;

/** Yields the events of a session after `after` from its WebSocket; otherwise as `sseFollow`. */
export async function* socketFollow(transport, sessionPath, { after, endsWith, signal }) {
  let position = after;
  const backoff = new Backoff(transport.timeouts, transport.timeouts.resumeMs);
  const credentials = new Credentials(transport, sessionPath);
  for (;;) {
    let failure = null;
    const frames = new SocketFrames(transport.timeouts, signal);
    const opened = performance.now();
    try {
      const [query, init] = await credentials.present(signal);
      const address = transport.baseUrl.replace(/^http/, "ws") + sessionPath + "/ws";
      frames.open(transport.WebSocket, address + queryText({ since: position, ...query }), init);
      for (let frame; (frame = await frames.take()) !== null;) {
        const { event: type, data, id } = parseObject(frame);
        if (type === undefined) continue; // the reply to a ping
        position = String(id);
        backoff.reset();
        const event = eventDecode(type, data, position);
        yield event;
        if (endsWith(event)) return;
      }
      if (frames.overflowed) continue; // the caller has taken all that was kept, and nothing failed
      if (frames.code === SESSION_CLOSED) return;
      if (!frames.wasOpen) credentials.forget();
      failure = frames.failure();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof GatewayError && !isPassing(error)) throw error;
      failure = error;
    } finally {
      frames.close();
    }
    if (performance.now() > opened + 2 * transport.timeouts.idleMs) backoff.reset(); // a socket that answered pings
    await backoff.wait(failure, signal);
  }
}

/** The right to open the socket: headers where the WebSocket sends them, else a token of the session. */
class Credentials {
  #transport;
  #path;
  #token = null;

  constructor(transport, sessionPath) {
    this.#transport = transport;
    this.#path = sessionPath;
  }

  /** Returns the fields of the query, and the second argument of the WebSocket. */
  async present(signal) {
    const { WebSocket } = this.#transport;
    if (WebSocket === null) {
      throw new GatewayError("There is no WebSocket here: give the Gateway one as an option, or use SSE.");
    }
    if (WebSocket.sendsHeaders) {
      return [{}, { headers: await this.#transport.headers(), timeoutMs: this.#transport.timeouts.connectMs }];
    }
    this.#token ??= (await this.#transport.json("POST", this.#path + "/stream-token", { signal })).token;
    return [{ token: this.#token }, undefined];
  }

  /** Takes a new token for the next attempt. */
  forget() {
    this.#token = null;
  }
}

/** The frames of one socket in a bounded queue, until it is closed, silent, aborted, or has too many. */
class SocketFrames {
  #timeouts;
  #signal;
  #socket = null;
  #queue = [];
  #characters = 0;
  #wake = null;
  #timer = null;
  #heard = 0;
  #ended = false;
  #silent = false;

  code = null;
  wasOpen = false;
  overflowed = false;

  constructor(timeouts, signal) {
    this.#timeouts = timeouts;
    this.#signal = signal;
  }

  open(WebSocket, address, init) {
    const socket = init ? new WebSocket(address, init) : new WebSocket(address);
    this.#socket = socket;
    this.#heard = performance.now();
    socket.onopen = () => {
      this.wasOpen = true;
      this.#heard = performance.now();
    };
    socket.onmessage = (message) => this.#put(message.data);
    socket.onerror = () => {}; // `close` follows
    socket.onclose = (closed) => {
      this.code = closed.code;
      this.#end();
    };
    this.#signal.addEventListener("abort", this.#end, { once: true });
    this.#timer = setInterval(() => this.#watch(), Math.min(this.#timeouts.idleMs / 3, this.#timeouts.connectMs));
  }

  /** Returns the next frame, null after the last one. */
  async take() {
    while (!this.#queue.length && !this.#ended) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#signal.throwIfAborted();
    const frame = this.#queue.shift() ?? null;
    this.#characters -= frame?.length ?? 0;
    return frame;
  }

  /** Returns the error of a socket that ended; throws the one after which no other is opened. */
  failure() {
    const refusal = this.#socket.refusal;
    if (refusal) return errorFromResponse(refusal.status, refusal.body, refusal.retryAfter);
    if (this.code === UNAUTHORIZED) {
      throw new Unauthorized("The API key was revoked or has expired.", { status: 401 });
    }
    if (this.code === TOO_MANY_FRAMES) {
      return new RateLimited("The socket had too many frames per minute.", { status: 429 });
    }
    if (isFinal(this.code)) throw new GatewayError(`The gateway closed the socket for good (code ${this.code}).`);
    return new TypeError(this.#silent ? "the socket was silent" : `the socket was closed with code ${this.code}`);
  }

  close() {
    clearInterval(this.#timer);
    this.#signal.removeEventListener("abort", this.#end);
    this.#ended = true;
    this.#queue = [];
    const socket = this.#socket;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #end = () => {
    this.#ended = true;
    this.#wake?.();
  };

  #put(frame) {
    this.#heard = performance.now();
    if (this.#ended) return; // of a socket that is being closed: it comes again
    this.#queue.push(frame);
    this.#characters += frame.length;
    if (this.#queue.length > MOST_FRAMES || this.#characters > MOST_CHARACTERS) {
      this.overflowed = true;
      this.#socket.close();
      this.#end();
    }
    this.#wake?.();
  }

  /** A socket that is silent is asked for a sign of life, and given up without one. */
  #watch() {
    const silentMs = performance.now() - this.#heard;
    if (silentMs > (this.wasOpen ? this.#timeouts.idleMs : this.#timeouts.connectMs)) {
      this.#silent = true;
      this.#end();
    } else if (this.wasOpen && silentMs > this.#timeouts.idleMs / 4) {
      this.#socket.send('{"action":"ping"}');
    }
  }
}

function isPassing(error) {
  return error instanceof APIError && REPEATABLE_STATUSES.has(error.status);
}
