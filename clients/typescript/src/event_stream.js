/**
 * An event stream with replies: what `prompt`, `resume` and `events` of a session return.
 *
 * `for await (const event of stream)` yields the log as it is. Callbacks run beside it; an error that one throws ends
 * the stream with this error. Only as much is read as the caller asks for.
 */

import { GatewayError, RunAborted, WaitTimeout } from "./errors.js";

const DONE = Object.freeze({ done: true, value: undefined });

/**
 * The events of a run or of a session. It is opened by the first `next`, and closed by its end, by `close`, by leaving
 * a `for await` loop, or by `signal`. `timeoutMs` limits the wait for each event: it throws WaitTimeout, loses no
 * event, and the iteration can go on.
 */
export class EventStream {
  #open;
  #replies;
  #timeoutMs;
  #requestMs;
  #signal;
  #controller = new AbortController();
  #abort;
  #events = null;
  #read = null;
  #turn = Promise.resolve();
  #working = new Set();
  #failure = null;
  #wake = null;
  #finished = false;

  /** The id of the last event; what `resume` and `events` take to go on after it. */
  position = null;
  last = null;

  constructor(open, { replies = null, timeoutMs = null, requestMs = 60_000, signal = null } = {}) {
    this.#open = open;
    this.#replies = replies;
    this.#timeoutMs = timeoutMs;
    this.#requestMs = requestMs;
    this.#signal = signal;
    this.#abort = () => {
      this.#controller.abort(signal.reason);
      this.#fail(signal.reason);
    };
    if (signal?.aborted) this.#abort();
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Returns the next event. Calls that overlap are answered in turn. */
  next() {
    const result = this.#turn.then(() => this.#advance());
    this.#turn = result.catch(() => {});
    return result;
  }

  async return(value) {
    this.close();
    return { done: true, value };
  }

  /** Ends the connection, and the signal of callbacks that still run. The run itself goes on. */
  close() {
    if (this.#finished) return;
    this.#finished = true;
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#controller.abort(new GatewayError("The stream was closed."));
    this.#wake?.();
    this.#events?.return().catch(() => {}); // its caller is gone
  }

  /** Reads to the end of the run and returns its answer. Throws RunAborted when it ended without one. */
  async result() {
    for await (const event of this) void event;
    if (this.last?.type === "agent_abort") throw new RunAborted(this.last.data.reason, this.last.data.message);
    if (this.last?.type !== "agent_end") {
      throw new GatewayError("The stream ended without the end of the run: its events are no longer kept.");
    }
    const { requestId, lastMessage, tokenUsage, costUsd, costKnown, durationMs } = this.last.data;
    return { requestId, text: lastMessage.content, tokenUsage, costUsd, costKnown, durationMs };
  }

  async #advance() {
    if (this.#finished) return DONE;
    try {
      const { done, value: event } = await this.#wait();
      if (this.#finished) return DONE;
      if (done) {
        await this.#settle();
        this.close();
        return DONE;
      }
      this.position = event.id ?? this.position;
      this.last = event;
      this.#start(this.#replies?.replyTo(event, this.#controller.signal) ?? null);
      return { done: false, value: event };
    } catch (error) {
      if (this.#finished) return DONE;
      if (!(error instanceof WaitTimeout)) this.close();
      throw error;
    }
  }

  /** Waits for the next event beside the replies. The read goes on when the time is over first. */
  async #wait() {
    if (this.#failure) throw this.#failure.error;
    this.#events ??= this.#open(this.#controller.signal);
    if (this.#read === null) {
      this.#read = this.#events.next();
      this.#read.catch(() => {}); // it may fail while nobody waits, and is told to who waits next
    }
    const found = await this.#within(this.#timeoutMs, this.#read);
    if (found === null) throw new WaitTimeout(`No event within ${this.#timeoutMs / 1000} s.`);
    this.#read = null;
    return found;
  }

  /** Waits for the replies that still run; after the end of the run they have nothing to wait for. */
  async #settle() {
    if (this.#working.size) await this.#within(this.#requestMs, Promise.all(this.#working));
    if (this.#failure) throw this.#failure.error;
  }

  /**
   * Waits for `work`, the first failure (of a reply, or the caller's signal), the end of the stream, or the end of
   * the time (null).
   */
  async #within(ms, work) {
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        this.#wake = () => (this.#failure ? reject(this.#failure.error) : resolve(DONE));
        if (this.#failure) this.#wake();
        if (ms !== null) timer = setTimeout(() => resolve(null), ms);
        work.then(resolve, reject);
      });
    } finally {
      clearTimeout(timer);
      this.#wake = null;
    }
  }

  #start(reply) {
    if (reply === null) return;
    const work = reply.catch((error) => this.#fail(error)).finally(() => this.#working.delete(work));
    this.#working.add(work);
  }

  #fail(error) {
    this.#failure ??= { error };
    this.#wake?.();
  }
}
