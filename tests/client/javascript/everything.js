/** Every method of the client once, against a gateway; ends with an error where one does not do what it says. */

import assert from "node:assert/strict";
import * as client from "../../../clients/typescript/node.js";

const { Gateway, tool } = client;
const [url, key] = process.argv.slice(2);
const gateway = new Gateway(url, key);
const name = `s-${Math.random().toString(36).slice(2)}`;
const timeoutMs = 120_000;

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

async function until(stream, type) {
  for (;;) {
    const { done, value } = await stream.next();
    assert.equal(done, false, `the stream ended before ${type}`);
    if (value.type === type) return value;
  }
}

async function sessions() {
  const fields = { sessionId: name, groupId: `g-${name}`, userData: { a: 1 } };
  const session = await gateway.sessions.create("demo:echo", fields);
  const run = await session.prompt("one", { timeoutMs }).result();
  assert.equal((await session.change({ title: "First" })).title, "First");
  assert.deepEqual(
    (await all(gateway.sessions.list({ groupId: `g-${name}` }))).map((each) => each.sessionId),
    [name],
  );
  const messages = await all(session.messages());
  assert.deepEqual([messages[0].content, messages[1].content], ["one", run.text]);
  assert.deepEqual(
    (await all(session.runs())).map(({ requestId }) => requestId),
    [run.requestId],
  );
  assert.equal((await session.run(run.requestId)).status, "completed");
  assert.equal((await session.stats()).promptCount, 1);
  const fork = await session.fork(messages.at(-1).id);
  assert.notEqual(fork.id, name);
  await session.switchModel("demo:tour");
  assert.equal((await (await gateway.sessions.get(name)).refresh()).model, "demo:tour");
  const group = gateway.groupEvents(`g-${name}`, { since: 0, timeoutMs });
  assert.equal((await group.next()).value.data.sessionId, name);
  group.close();
  assert.match((await session.streamToken()).token, /./);
  await fork.delete();
  assert.deepEqual((await all(fork.events({ timeoutMs }))).at(-1).type, "session_closed");
  await gateway.sessions.delete(name, { purge: true });
  await assert.rejects(gateway.sessions.get(name), client.SessionNotFound);
  assert.ok((await gateway.usage({ groupBy: ["day", "model"] })).length);
}

async function replies() {
  const broken = tool({ name: "broken" }, () => {
    throw new RangeError("no luck");
  });
  const big = tool({ name: "big" }, () => 1n);
  const session = await gateway.sessions.create("demo:tour", { tools: ["current_time", broken] });
  const end = async (prompt, options) => until(session.prompt(prompt, { timeoutMs, ...options }), "tool_execution_end");
  assert.match((await end("use broken")).data.result, /RangeError: no luck/);
  assert.match((await end("use big", { tools: [big] })).data.result, /TypeError/);
  const no = { approve: false, reason: "not today" };
  assert.match((await end("approve", { onApproval: () => no })).data.result, /not today/);
  const answered = session.prompt("ask", { onQuestion: ({ data }) => data.options[0]?.id ?? "blue", timeoutMs });
  assert.equal((await until(answered, "question_resolved")).data.status, "answered");
  const fail = () => {
    throw new EvalError("nobody is there");
  };
  await assert.rejects(session.prompt("approve", { onApproval: fail, timeoutMs }).result(), EvalError);
  await byHand(session);
  assert.ok((await session.tools()).some((each) => each.name === "broken"));
  await session.removeTool("broken");
  assert.ok(!(await session.tools()).some((each) => each.name === "broken"));
}

/** What callbacks do, without them. */
async function byHand(session) {
  const [pending] = (await session.status()).pendingApprovals;
  await session.reject(pending.approvalId);
  const approval = session.prompt("approve", { timeoutMs });
  const asked = await until(approval, "approval_required");
  await session.steer("more");
  await session.approve(asked.data.approvalId, { argsHash: asked.data.argsHash, comment: "fine" });
  assert.equal((await until(approval, "approval_resolved")).data.comment, "fine");
  await approval.result();
  const question = session.prompt("ask", { timeoutMs });
  await session.respond((await until(question, "ask_user")).data.ref, "blue");
  await question.result();
  const other = await gateway.sessions.get(session.id); // it has no tools of its own
  const call = other.prompt("use broken", { timeoutMs });
  await other.toolResult((await until(call, "tool_call_requested")).data.callId, { result: "by hand" });
  assert.equal((await until(call, "tool_execution_end")).data.result, "by hand");
  await call.result();
  for (const abort of [(run) => session.abortRun(run), () => session.abort({ reason: "enough" })]) {
    const run = session.prompt("approve", { timeoutMs });
    await abort((await until(run, "approval_required")).data.requestId);
    await assert.rejects(run.result(), (error) => error instanceof client.RunAborted && error.reason === "aborted");
  }
}

async function tasks() {
  const target = "demo";
  const live = gateway.liveEvents({ timeoutMs });
  await until(live, "welcome");
  const { taskId } = await gateway.tasks.submit("Say hello", { id: `t-${name}`, target, timeoutMs });
  const task = await gateway.tasks.wait(taskId, { timeoutMs });
  assert.deepEqual([task.id, task.status, task.assignedAgents], [`t-${name}`, "completed", [target]]);
  assert.equal((await until(live, "task.completed")).data.taskId, taskId);
  live.close();
  assert.equal((await all(gateway.tasks.events(taskId, { timeoutMs }))).at(-1).type, "task_status");
  const steps = [{ agentId: target }, { agentId: target, prompt: "Shorten:" }];
  const { taskIds } = await gateway.tasks.pipeline(steps, "gateways");
  assert.equal((await gateway.tasks.wait(taskIds[1], { timeoutMs })).status, "completed");
  const waits = await gateway.tasks.submit("approve", { target });
  assert.equal((await gateway.tasks.cancel(waits.taskId)).status, "cancelled");
  const ids = (await all(gateway.tasks.list({ agent: target }))).map(({ id }) => id);
  for (const id of [taskId, ...taskIds, waits.taskId]) assert.ok(ids.includes(id));
  assert.ok((await gateway.agents()).some(({ id, lastSeen }) => id === target && lastSeen !== undefined));
  await assert.rejects(gateway.tasks.get("unknown"), { name: "NotFound", code: "TASK_NOT_FOUND" });
}

async function spaces() {
  const space = await gateway.spaces.create({ metadata: { own_name: 1 } });
  for (const text of ["first", "second deployment"]) await gateway.spaces.addMessage(space, text, { role: "user" });
  const texts = (await all(gateway.spaces.messages(space))).map(({ content }) => content);
  assert.deepEqual(texts, ["second deployment", "first"]);
  await gateway.spaces.putArtifact(space, "plan.bin", Uint8Array.of(0, 255));
  assert.deepEqual(
    (await gateway.spaces.artifacts(space)).map(({ mediaType }) => mediaType),
    ["application/octet-stream"],
  );
  assert.deepEqual((await gateway.spaces.getArtifact(space, "plan.bin")).bytes, Uint8Array.of(0, 255));
  const { artifactCount, metadata } = await gateway.spaces.get(space);
  assert.deepEqual([artifactCount, metadata], [1, { own_name: 1 }]);
  assert.equal((await gateway.spaces.search(space, "deployment"))[0].kind, "message");
  await gateway.spaces.deleteArtifact(space, "plan.bin");
  assert.deepEqual(await gateway.spaces.artifacts(space), []);
}

for (const work of [sessions, replies, tasks, spaces]) await work();
console.log("done");
