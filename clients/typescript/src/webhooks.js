/**
 * Verification of webhook messages, which the gateway signs as Standard Webhooks.
 *
 * A message may come twice: remember `messageId`. The same headers sign the calls of a tool's `callbackUrl`.
 */

import { InvalidSignature } from "./errors.js";
import { eventDecode } from "./events.js";

const PREFIX = "whsec_";
const TOLERANCE_SECONDS = 5 * 60;

/**
 * Checks a message against the webhook's secret (`whsec_…`) and returns `{messageId, body, event}`. `body` is the raw
 * body, as text or bytes. Throws InvalidSignature, also for a message that is more than five minutes old.
 */
export async function webhookVerify(body, headers, secret) {
  const raw = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const [messageId, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => header(headers, name));
  if (!/^\d{1,12}$/.test(timestamp)) throw new InvalidSignature("The header 'webhook-timestamp' is no time.");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) {
    throw new InvalidSignature("The message is more than five minutes old, or a clock is wrong.");
  }
  const head = new TextEncoder().encode(`${messageId}.${timestamp}.`);
  const signed = new Uint8Array(head.length + raw.length);
  signed.set(head);
  signed.set(raw, head.length);
  if (!(await isSignedBy(await importKey(secret), signatures, signed))) {
    throw new InvalidSignature("The webhook's signature is not valid.");
  }
  return webhookMessage(messageId, new TextDecoder().decode(raw));
}

function webhookMessage(messageId, text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch (error) {
    throw new InvalidSignature("The message is no JSON.", { cause: error });
  }
  const data = typeof message.data === "object" && message.data !== null ? message.data : message;
  return { messageId, body: message, event: eventDecode(String(message.type ?? ""), data, String(data.id ?? "")) };
}

/** True if one of the signatures is the key's: there are two while a secret is being changed. */
async function isSignedBy(key, signatures, signed) {
  for (const each of signatures.split(" ").slice(0, 16)) {
    const [version, signature] = each.split(",");
    const bytes = version === "v1" ? fromBase64(signature ?? "") : null;
    if (bytes && (await crypto.subtle.verify("HMAC", key, bytes, signed))) return true;
  }
  return false;
}

async function importKey(secret) {
  const bytes = fromBase64(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  if (!bytes?.length) throw new InvalidSignature("The secret of a webhook is 'whsec_' and base64.");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function header(headers, name) {
  const wanted = `webhook-${name}`;
  const pairs = typeof headers.entries === "function" ? [...headers.entries()] : Object.entries(headers);
  const value = pairs.find(([each]) => each.toLowerCase() === wanted)?.[1];
  if (typeof value !== "string") throw new InvalidSignature(`The header '${wanted}' is missing.`);
  return value;
}

function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}
