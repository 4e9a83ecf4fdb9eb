/**
 * SSE streams that resume by themselves, from their last position, whatever breaks.
 *
 * The caller gets every event once and in order. What the gateway no longer has, or has lost, comes as
 * `events_dropped`; the stream then goes on at the position that this event carries. Bytes are read when the caller
 * asks for events.
 */

import { Backoff } from "./backoff.js";
import { APIError, GatewayError } from "./errors.js";
import { eventDecode } from "./events.js";
import { FrameParser } from "./sse.js";
import { REPEATABLE_STATUSES } from "./transport.js";

/**
 * Yields the events of an SSE stream, up to the one that `endsWith` accepts, or until the gateway says that no event
 * will follow. Throws APIError for a refusal, ConnectionFailed when no attempt succeeds in time, the reason of
 * `signal`. `decode` makes an event of a frame, or null; it is told whether the connection went on from a position.
 */
export async function* sseFollow(transport, path, { query, after, endsWith, signal, decode = decodeFrame }) {
  let position = after;
  const backoff = new Backoff(transport.timeouts, transport.timeouts.resumeMs);
  for (;;) {
    let failure = null;
    const resumed = position !== null;
    const connection = new Connection(transport, signal);
    try {
      if (!(await connection.open(path, query, position))) return;
      const lasting = performance.now() + transport.timeouts.longestPauseMs;
      for (let frames; (frames = await connection.read()) !== null;) {
        if (performance.now() > lasting) backoff.reset(); // heartbeats of a stream without events
        for (const frame of frames) {
          position = frame.id ?? position;
          backoff.reset();
          const event = frame.data === null ? null : decode(frame, position, resumed);
          if (event === null) continue;
          yield event;
          if (endsWith(event)) return;
        }
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof GatewayError && !isPassing(error)) throw error;
      failure = error;
    } finally {
      connection.close();
    }
    await backoff.wait(failure, signal);
  }
}

/** One response, with a limit to its silence while somebody waits for it. */
class Connection {
  #transport;
  #controller = new AbortController();
  #signal;
  #abort;
  #reader = null;
  #parser = new FrameParser();

  constructor(transport, signal) {
    this.#transport = transport;
    this.#signal = signal;
    this.#abort = () => this.#controller.abort(signal.reason);
    if (signal.aborted) this.#abort();
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  /** Returns false for a stream that will never have an event. */
  async open(path, query, position) {
    const opening = this.#transport.openStream(path, query, position, this.#controller.signal);
    this.#reader = await this.#within(opening);
    return this.#reader !== null;
  }

  /** Returns the frames that came, null at the end. */
  async read() {
    const { done, value } = await this.#within(this.#reader.read());
    return done ? null : this.#parser.feed(value);
  }

  close() {
    this.#signal.removeEventListener("abort", this.#abort);
    this.#controller.abort();
    this.#reader?.cancel().catch(() => {}); // it is broken already
  }

  async #within(work) {
    const { idleMs } = this.#transport.timeouts;
    const silent = () => this.#controller.abort(new TypeError(`silent for ${idleMs / 1000} s`));
    const timer = setTimeout(silent, idleMs);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }
}

function decodeFrame(frame, position) {
  return eventDecode(frame.type, frame.data, position ?? "0");
}

function isPassing(error) {
  return error instanceof APIError && REPEATABLE_STATUSES.has(error.status);
}
