/** Webhook messages, signed as Standard Webhooks prescribe. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import test from "node:test";
import { InvalidSignature, webhookVerify } from "../index.js";

const KEY = Buffer.alloc(32, "k");
const SECRET = `whsec_${KEY.toString("base64")}`;
const BODY = JSON.stringify({ type: "agent_end", data: { id: "42.7", costUsd: 0.5, text: "é" } });

function signed({ at = Date.now() / 1000, key = KEY, body = BODY } = {}) {
  const timestamp = String(Math.floor(at));
  const signature = createHmac("sha256", key).update(`msg_1.${timestamp}.${body}`).digest("base64");
  return { "Webhook-Id": "msg_1", "Webhook-Timestamp": timestamp, "Webhook-Signature": `v1a,xx v1,${signature}` };
}

test("a genuine message has its event, in whatever form it came", async () => {
  for (const body of [BODY, Buffer.from(BODY)]) {
    for (const headers of [signed(), new Headers(signed()), new Map(Object.entries(signed()))]) {
      const { messageId, event } = await webhookVerify(body, headers, SECRET);
      assert.deepEqual([messageId, event.type, event.id, event.data.costUsd], ["msg_1", "agent_end", "42.7", 0.5]);
    }
  }
});

const OTHERS = {
  changed: [BODY.replace("0.5", "0.6"), signed(), SECRET],
  old: [BODY, signed({ at: Date.now() / 1000 - 3600 }), SECRET],
  "of the future": [BODY, signed({ at: Date.now() / 1000 + 3600 }), SECRET],
  "without a time": [BODY, { ...signed(), "Webhook-Timestamp": "now" }, SECRET],
  unsigned: [BODY, {}, SECRET],
  "of another secret": [BODY, signed({ key: Buffer.alloc(32, "x") }), SECRET],
  "without a signature": [BODY, { ...signed(), "Webhook-Signature": "v1,%%% v1" }, SECRET],
  "no JSON": ["{", signed({ body: "{" }), SECRET],
  "with no secret": [BODY, signed(), "not base64!"],
};

for (const [name, [body, headers, secret]] of Object.entries(OTHERS)) {
  test(`a message ${name} is refused`, async () => {
    await assert.rejects(webhookVerify(body, headers, secret), InvalidSignature);
  });
}
