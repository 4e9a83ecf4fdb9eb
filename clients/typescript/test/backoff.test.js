/** The pauses between attempts, on a clock that only they move. */

import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionFailed, DEFAULT_TIMEOUTS, RateLimited } from "../index.js";
import { Backoff } from "../src/backoff.js";

function clock(t) {
  const state = { now: 1e6, pauses: [] };
  t.mock.method(performance, "now", () => state.now);
  t.mock.method(Math, "random", () => 1);
  t.mock.method(globalThis, "setTimeout", (work, ms) => {
    state.pauses.push(ms);
    state.now += ms;
    queueMicrotask(work);
  });
  return state;
}

const TIMEOUTS = { ...DEFAULT_TIMEOUTS, firstPauseMs: 1000, longestPauseMs: 4000 };
const refused = new TypeError("fetch failed");

test("pauses double up to a limit and end in an error", async (t) => {
  const state = clock(t);
  const backoff = new Backoff(TIMEOUTS, 12_000);
  for (let attempt = 0; attempt < 4; attempt++) await backoff.wait(refused);
  await assert.rejects(backoff.wait(refused), ConnectionFailed);
  assert.deepEqual(state.pauses, [1000, 2000, 4000, 4000]);
});

test("the time before the first failure does not count", async (t) => {
  const state = clock(t);
  const backoff = new Backoff(TIMEOUTS, 12_000);
  state.now += 3_600_000;
  await backoff.wait(null);
  state.now += 3_600_000;
  backoff.reset();
  await backoff.wait(null);
  assert.deepEqual(state.pauses, [1000, 1000]);
});

test("the gateway is given the time that it asks for, and its refusal is told at the end", async (t) => {
  const state = clock(t);
  const backoff = new Backoff(TIMEOUTS, 12_000);
  const refusal = new RateLimited("slower", { status: 429, retryAfter: 7 });
  await backoff.wait(refusal);
  await assert.rejects(backoff.wait(refusal), RateLimited);
  assert.deepEqual(state.pauses, [7000]);
});
