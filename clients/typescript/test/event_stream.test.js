/** The iterator: time-outs, signals, closing, and replies beside it. */

import assert from "node:assert/strict";
import test from "node:test";
import { EventStream, GatewayError, RunAborted, WaitTimeout } from "../index.js";

const event = (id, type = "message_delta", data = {}) => ({ type, id: String(id), data });

/** A source that yields what it is given when it is given it. */
function source() {
  const waiting = [];
  const events = [];
  const put = (item) => (waiting.length ? waiting.shift()(item) : events.push(item));
  const opened = [];
  async function* open(signal) {
    opened.push(signal);
    for (;;) {
      const item = await new Promise((resolve, reject) => {
        if (events.length) resolve(events.shift());
        else waiting.push(resolve);
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      if (item === null) return;
      if (item instanceof Error) throw item;
      yield item;
    }
  }
  return { put, open, opened };
}

test("a time-out loses no event", async () => {
  const { put, open } = source();
  const stream = new EventStream(open, { timeoutMs: 5 });
  await assert.rejects(stream.next(), WaitTimeout);
  put(event(1));
  await new Promise((resolve) => setImmediate(resolve)); // it arrives while nobody waits
  assert.deepEqual((await stream.next()).value, event(1));
  await assert.rejects(stream.next(), WaitTimeout);
  put(null);
  assert.equal((await stream.next()).done, true);
});

test("calls of `next` that overlap are answered in turn", async () => {
  const { put, open } = source();
  const stream = new EventStream(open);
  const results = [stream.next(), stream.next(), stream.next()];
  for (const item of [event(1), event(2), null]) put(item);
  const values = (await Promise.all(results)).map(({ value }) => value?.id);
  assert.deepEqual(values, ["1", "2", undefined]);
  assert.equal(stream.position, "2");
});

test("leaving the loop closes the stream and the signal of its callbacks", async () => {
  const { put, open, opened } = source();
  const stream = new EventStream(open);
  put(event(1));
  for await (const each of stream) {
    assert.equal(each.id, "1");
    break;
  }
  assert.equal(opened[0].aborted, true);
  assert.equal((await stream.next()).done, true);
});

test("closing ends a wait", async () => {
  const { open } = source();
  const stream = new EventStream(open);
  const next = stream.next();
  stream.close();
  assert.equal((await next).done, true);
});

test("the signal of the caller ends the stream with its reason", async () => {
  const { open } = source();
  const controller = new AbortController();
  const stream = new EventStream(open, { signal: controller.signal });
  const next = stream.next();
  await Promise.resolve();
  controller.abort(new Error("enough"));
  await assert.rejects(next, /enough/);
  assert.equal((await stream.next()).done, true);
  const late = new EventStream(source().open, { signal: AbortSignal.abort(new Error("before")) });
  await assert.rejects(late.next());
});

test("a callback that fails ends the stream with its error", async () => {
  const { put, open, opened } = source();
  const fail = Promise.reject(new RangeError("nobody is there"));
  fail.catch(() => {});
  const stream = new EventStream(open, { replies: { replyTo: () => fail } });
  put(event(1));
  assert.equal((await stream.next()).value.id, "1");
  await assert.rejects(stream.next(), RangeError);
  assert.equal(opened[0].aborted, true);
});

test("the end waits for callbacks that still run", async () => {
  const { put, open } = source();
  let finish;
  const work = new Promise((resolve) => (finish = resolve));
  const stream = new EventStream(open, { replies: { replyTo: () => work } });
  put(event(1));
  put(null);
  await stream.next();
  let ended = false;
  const next = stream.next().then(() => (ended = true));
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ended, false);
  finish();
  await next;
});

test("the result is the answer, or says why there is none", async () => {
  const stream = (...items) => {
    const { put, open } = source();
    for (const item of items) put(item);
    return new EventStream(open);
  };
  const end = {
    requestId: "r",
    lastMessage: { content: "x" },
    tokenUsage: {},
    costUsd: 0,
    costKnown: true,
    durationMs: 1,
  };
  const { text, requestId } = await stream(event(1, "agent_end", end), null).result();
  assert.deepEqual([text, requestId], ["x", "r"]);
  const aborted = stream(event(1, "agent_abort", { reason: "budget", message: "spent" }), null).result();
  await assert.rejects(aborted, (error) => error instanceof RunAborted && error.reason === "budget");
  await assert.rejects(stream(null).result(), GatewayError);
});
