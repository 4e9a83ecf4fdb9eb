/** Time-outs, pauses between attempts, and waits that a signal ends. */

import { ConnectionFailed, GatewayError } from "./errors.js";

/** Limits in milliseconds; every wait of the client ends with one of them. */
export const DEFAULT_TIMEOUTS = Object.freeze({
  /** Until a WebSocket is open. */
  connectMs: 10_000,
  /** Until a request is answered. */
  requestMs: 60_000,
  /** The time in which a request is repeated. An unfinished `Idempotency-Key` of a killed process blocks for 90 s. */
  retryMs: 120_000,
  /** The time that a stream may be silent: the gateway sends a heartbeat every 15 s. */
  idleMs: 45_000,
  /** The time in which a stream is reconnected without getting anything. */
  resumeMs: 300_000,
  firstPauseMs: 250,
  longestPauseMs: 10_000,
});

/** Pauses that double up to a limit, with jitter, until `limitMs` have passed since the first one after `reset`. */
export class Backoff {
  #timeouts;
  #limitMs;
  #pauseMs;
  #until;

  constructor(timeouts, limitMs) {
    this.#timeouts = timeouts;
    this.#limitMs = limitMs;
    this.reset();
  }

  /** Starts anew, after progress. */
  reset() {
    this.#pauseMs = this.#timeouts.firstPauseMs;
    this.#until = null;
  }

  /**
   * Sleeps before the next attempt, at least as long as the gateway asked for. Throws the error, or ConnectionFailed
   * for one of the connection, when the time is over before.
   */
  async wait(error, signal) {
    const pauseMs = Math.max(this.#pauseMs * (0.5 + Math.random() / 2), (error?.retryAfter ?? 0) * 1000);
    this.#pauseMs = Math.min(2 * this.#pauseMs, this.#timeouts.longestPauseMs);
    this.#until ??= performance.now() + this.#limitMs;
    if (performance.now() + pauseMs > this.#until) {
      if (error instanceof GatewayError) throw error;
      const reason = error ? String(error.cause ?? error) : "the stream ends without an event";
      const message = `The gateway was not reached within ${this.#limitMs / 1000} s (${reason}).`;
      throw new ConnectionFailed(message, { cause: error ?? undefined });
    }
    await sleep(pauseMs, signal);
  }
}

/** Waits; rejects with the signal's reason when it is aborted before. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
