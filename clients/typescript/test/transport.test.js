/** Requests: what is repeated, what is not, and the errors. */

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import * as errors from "../index.js";
import { INFO, KEY, LogServer, QUICK, json } from "./log_server.js";

const { Gateway } = errors;
let server;
let gateway;
before(async () => {
  server = await new LogServer().start();
});
after(() => server.stop());
beforeEach(() => {
  server.requests = [];
  gateway = new Gateway(server.url, KEY, { timeouts: QUICK });
});

/** Answers the first request with the first of these, and so on. */
function answers(...list) {
  const give = (request, response) => {
    const [first] = list.splice(0, 1);
    if (list.length) server.answer = give;
    first(request, response);
  };
  server.answer = give;
}

const broken = (_request, response) => response.destroy();

test("a creation is repeated with the same key until it has a response", async () => {
  answers(broken, json(503, { error: "unavailable" }), json(201, INFO));
  const session = await gateway.sessions.create("demo:echo", { title: "T" });
  assert.equal(session.id, "s");
  assert.equal(server.requests.length, 3);
  assert.equal(new Set(server.requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.deepEqual(JSON.parse(server.requests[2].body), { model: "demo:echo", title: "T" });
});

test("the gateway is given the time that it asks for", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  answers(json(429, { error: "rate_limited", message: "slower" }, { "Retry-After": "7" }), json(200, { usage: [] }));
  const usage = gateway.usage();
  while (server.requests.length < 1) await new Promise((resolve) => setImmediate(resolve));
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(6999);
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(server.requests.length, 1);
  while (server.requests.length < 2) {
    t.mock.timers.tick(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(await usage, []);
});

test("a request that must not be performed twice is not repeated once it may have arrived", async () => {
  answers(json(201, INFO), broken);
  const session = await gateway.sessions.create("demo:echo");
  await assert.rejects(session.abort(), errors.ConnectionFailed);
  assert.equal(server.requests.length, 2);
});

test("a full queue is told at once, and has its class", async () => {
  answers(json(201, INFO), json(429, { error: "queue_full", message: "full" }));
  const session = await gateway.sessions.create("demo:echo");
  await assert.rejects(session.send("x"), errors.QueueFull);
});

test("a refusal has its class, field and id", async () => {
  answers(json(400, { error: "bad_request", message: "'maxTurns' is a number.", field: "maxTurns" }));
  await assert.rejects(gateway.sessions.create("x"), (error) => {
    assert.ok(error instanceof errors.BadRequest && error instanceof errors.APIError);
    assert.deepEqual([error.name, error.field, error.status], ["BadRequest", "maxTurns", 400]);
    return true;
  });
  answers(json(404, { error: { code: "TASK_NOT_FOUND", message: "There is no task." } }));
  await assert.rejects(gateway.tasks.get("x"), { name: "NotFound", code: "TASK_NOT_FOUND" });
  answers((_request, response) => response.writeHead(418).end("<html>"));
  await assert.rejects(gateway.usage(), { name: "APIError", status: 418 });
  answers((_request, response) => response.end("<html>"));
  await assert.rejects(gateway.usage(), { name: "GatewayError" });
});

test("a redirect does not get the key", async () => {
  answers((_request, response) => response.writeHead(302, { Location: `${server.url}/elsewhere` }).end());
  await assert.rejects(gateway.usage(), /redirects/);
  assert.equal(server.requests.length, 1);
});

test("a page that is no event stream is refused", async () => {
  answers((_request, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<html>"));
  await assert.rejects(gateway.groupEvents("g").next(), /no event stream/);
});

test("a gateway that is not there is an error in time", async () => {
  const gone = await new LogServer().start();
  await gone.stop();
  const nowhere = new Gateway(gone.url, KEY, { timeouts: { ...QUICK, retryMs: 5, resumeMs: 5 } });
  await assert.rejects(nowhere.usage(), errors.ConnectionFailed);
  await assert.rejects(nowhere.groupEvents("g").next(), errors.ConnectionFailed);
});

test("the caller's signal ends a request and its repetitions with its reason", async () => {
  const controller = new AbortController();
  answers(() => controller.abort(new Error("enough")));
  await assert.rejects(gateway.usage({ signal: controller.signal }), /enough/);
  await assert.rejects(gateway.usage({ signal: AbortSignal.abort(new Error("before")) }), /before/);
  assert.equal(server.requests.length, 1);
});

test("a request without a response is repeated after its time-out", async () => {
  const impatient = new Gateway(server.url, KEY, { timeouts: { ...QUICK, requestMs: 20 } });
  answers(() => {}, json(200, { usage: [] }));
  assert.deepEqual(await impatient.usage(), []);
  assert.ok(server.requests.length >= 2);
});

test("an id that would lead to another path is refused", async () => {
  for (const id of ["..", ".", ""]) await assert.rejects(gateway.spaces.deleteArtifact("s", id), errors.GatewayError);
  answers(json(200, INFO));
  await gateway.sessions.get("a/b?c");
  assert.equal(server.requests[0].url, "/v1/sessions/a%2Fb%3Fc");
});

test("headers of the page are asked for with each request", async () => {
  let number = 0;
  const page = new Gateway(server.url, null, { headers: () => ({ "X-CSRFToken": String(++number) }) });
  answers(json(200, { usage: [] }), json(200, { usage: [] }));
  await page.usage();
  await page.usage();
  assert.deepEqual(
    server.requests.map(({ headers }) => headers["x-csrftoken"]),
    ["1", "2"],
  );
  assert.equal(server.requests[0].headers["x-api-key"], undefined);
});

test("a function for headers that fails is an error at once", async () => {
  const fail = () => {
    throw new RangeError("no cookie");
  };
  const page = new Gateway(server.url, null, { headers: fail, timeouts: QUICK });
  await assert.rejects(page.usage(), (error) => error.cause instanceof RangeError);
  await assert.rejects(page.groupEvents("g").next(), (error) => error.cause instanceof RangeError);
  assert.equal(server.requests.length, 0);
});

test("every code has its class", () => {
  for (const [code, Kind] of errors.BY_CODE) {
    const error = errors.errorFromResponse(400, { error: code, message: "m" });
    assert.equal(error.constructor, Kind);
    assert.equal(error.code, code);
  }
});
