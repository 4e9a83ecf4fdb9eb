/** Connections that are cut after any number of bytes: what the client hands on is the log all the same. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../index.js";
import { KEY, LOG, LogServer, QUICK } from "./log_server.js";

let server;
let gateway;
before(async () => {
  server = await new LogServer().start();
  gateway = new Gateway(server.url, KEY, { timeouts: QUICK });
});
after(() => server.stop());

async function follow(options, session = "s") {
  const stream = gateway.groupEvents(session, options);
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (event.type === "agent_end") break;
  }
  return seen;
}

test("a stream that is cut at any byte is the log, without a gap or a duplicate", async () => {
  const { length } = server;
  assert.ok(length > 300);
  for (let first = 0; first <= length; first++) {
    server.cutAfter = first;
    assert.deepEqual(await follow(), LOG, `cut after ${first}`);
  }
});

test("a stream that is cut again and again after its next event is the log", async () => {
  const stream = gateway.groupEvents("s");
  for (const event of LOG) {
    server.cutAfter = 130;
    assert.deepEqual((await stream.next()).value, event);
  }
  stream.close();
});

test("events of a lost generation are told of, whatever is cut", async () => {
  const dropped = { type: "events_dropped", data: { from: 4, to: 2, reason: "reset" }, id: "2" };
  for (let cut = 0; cut <= server.length; cut++) {
    server.cutAfter = cut;
    const seen = await follow({ since: 4 });
    // Told again where the connection broke before its frame was whole, because then nobody was told.
    assert.deepEqual(seen, [dropped, ...LOG.slice(2)], `cut after ${cut}`);
  }
});

test("a resumed stream sends back its last position, as it came", async () => {
  server.requests = [];
  server.cutAfter = server.length - 10;
  await follow();
  assert.deepEqual(
    server.requests.map(({ headers }) => headers["last-event-id"]),
    [undefined, "3.77"],
  );
  assert.ok(server.requests.every(({ headers }) => headers["x-api-key"] === KEY));
});
