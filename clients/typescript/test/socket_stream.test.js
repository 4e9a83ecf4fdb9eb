/** The WebSocket stream on a scripted socket: tokens, silence, a caller who is slow, close codes. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Gateway, GatewayError, NotFound, Unauthorized } from "../index.js";
import { INFO, QUICK } from "./log_server.js";

/** A WebSocket like the browsers', which the test opens, fills and closes. */
class ScriptedSocket {
  static all = [];
  static onnew = () => {};
  sent = [];
  closed = false;

  constructor(address) {
    this.address = address;
    ScriptedSocket.all.push(this);
    queueMicrotask(() => ScriptedSocket.onnew(this));
  }

  send(text) {
    this.sent.push(text);
  }

  close() {
    this.closed = true;
  }

  open() {
    this.onopen?.({});
  }

  event(id, type = "message_delta") {
    this.onmessage?.({ data: JSON.stringify({ event: type, data: {}, id }) });
  }

  end(code) {
    this.onclose?.({ code });
  }
}

/** A session whose gateway gives the tokens t1, t2 … and whose sockets do what these functions say. */
async function session(timeouts, ...scripts) {
  let tokens = 0;
  const fetch = async (address) => {
    if (!String(address).endsWith("/stream-token")) return Response.json(INFO);
    tokens++;
    return scripts.length
      ? Response.json({ token: `t${tokens}` })
      : Response.json({ error: "not_found" }, { status: 404 });
  };
  ScriptedSocket.all = [];
  ScriptedSocket.onnew = (socket) => scripts.shift()(socket);
  const options = { WebSocket: ScriptedSocket, fetch, timeouts: { ...QUICK, ...timeouts } };
  return new Gateway("http://gateway", "k", options).sessions.get("s");
}

async function ids(stream) {
  const seen = [];
  for await (const { id } of stream) seen.push(id);
  return seen;
}

const addresses = () => ScriptedSocket.all.map(({ address }) => address.replace(/^.*\?/, ""));

test("a socket that breaks is resumed with its token, one that was refused with a new one", async () => {
  const followed = await session(
    {},
    (socket) => {
      socket.open();
      socket.event(1);
      socket.event("2.77");
      socket.end(4000);
    },
    (socket) => socket.end(1006),
    (socket) => {
      socket.open();
      socket.event("3.77", "session_closed");
    },
  );
  assert.deepEqual(await ids(followed.events({ via: "websocket" })), ["1", "2.77", "3.77"]);
  assert.deepEqual(addresses(), ["since=0&token=t1", "since=2.77&token=t1", "since=2.77&token=t2"]);
  assert.ok(ScriptedSocket.all.every(({ closed }) => closed));
});

test("a refusal that the socket does not tell is told by the token", async () => {
  const followed = await session({}, (socket) => socket.end(1006));
  await assert.rejects(ids(followed.events({ via: "websocket" })), NotFound);
});

test("what the caller does not take in time is not kept, and comes again", async () => {
  const followed = await session(
    {},
    (socket) => {
      socket.open();
      for (let id = 1; id <= 12_000; id++) socket.event(id);
      assert.ok(socket.closed);
    },
    (socket) => {
      const since = Number(new URL(socket.address).searchParams.get("since"));
      assert.equal(since, 10_001);
      socket.open();
      for (let id = since + 1; id <= 12_000; id++) socket.event(id);
      socket.event(12_001, "session_closed");
    },
  );
  const seen = await ids(followed.events({ via: "websocket" }));
  assert.deepEqual(
    seen,
    Array.from({ length: 12_001 }, (_, index) => String(index + 1)),
  );
});

test("a silent socket is asked for a sign of life, and given up without one", async (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  t.mock.timers.enable({ apis: ["setInterval"] });
  const followed = await session(
    { idleMs: 3000 },
    (socket) => {
      socket.open();
      for (now of [1000, 2000]) t.mock.timers.tick(1000);
      assert.deepEqual(socket.sent, ['{"action":"ping"}', '{"action":"ping"}']);
      socket.onmessage({ data: '{"ok":true,"action":"ping"}' });
      for (now of [3000, 4000, 5000]) t.mock.timers.tick(1000);
      assert.equal(socket.closed, false);
      now = 5001;
      t.mock.timers.tick(1000);
    },
    (socket) => {
      assert.equal(ScriptedSocket.all[0].closed, true);
      socket.open();
      socket.event(1, "session_closed");
    },
  );
  assert.deepEqual(await ids(followed.events({ via: "websocket" })), ["1"]);
});

for (const [code, Kind] of [
  [4501, Unauthorized],
  [4502, GatewayError],
]) {
  test(`code ${code} is final`, async () => {
    const followed = await session({}, (socket) => {
      socket.open();
      socket.end(code);
    });
    await assert.rejects(ids(followed.events({ via: "websocket" })), Kind);
  });
}

test("code 4500 is the end", async () => {
  const followed = await session({}, (socket) => {
    socket.open();
    socket.end(4500);
  });
  assert.deepEqual(await ids(followed.events({ via: "websocket" })), []);
});

test("without a WebSocket the error says what to do", async () => {
  const options = { fetch: async () => Response.json(INFO) };
  const gateway = new Gateway("http://gateway", "k", { ...options, WebSocket: undefined });
  const followed = await gateway.sessions.get("s");
  if (globalThis.WebSocket) return;
  await assert.rejects(followed.events({ via: "websocket" }).next(), /no WebSocket/);
});
