/**
 * HTTP requests to the gateway, repeated where that is safe.
 *
 * A request that may be repeated is: a GET, a change that sets a value, a decision (deciding alike twice is one
 * decision), and a POST with an `Idempotency-Key`. It survives a restart of the gateway. Others are repeated only when
 * it is certain that nothing was done: the connection was refused, or the gateway answered 429.
 */

import { Backoff, DEFAULT_TIMEOUTS } from "./backoff.js";
import { ConnectionFailed, GatewayError, errorFromResponse } from "./errors.js";
import { parseObject } from "./events.js";

export const REPEATABLE_STATUSES = new Set([429, 502, 503, 504]);

/** The refusal of a repeated request whose first process died in the middle; it lasts 90 s. */
const IN_PROGRESS = "The first request with this Idempotency-Key is still being answered";

/** Errors of node's sockets that come before anything is sent. A browser does not tell them apart. */
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);

/** The connections to one gateway with one key, or with the cookies of a page of the gateway's own. */
export class Transport {
  #apiKey;
  #headers;
  #fetch;
  #credentials;

  constructor(baseUrl, apiKey, options = {}) {
    this.baseUrl = String(baseUrl).replace(/\/+$/, "");
    this.timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.WebSocket = options.WebSocket ?? globalThis.WebSocket ?? null;
    this.#apiKey = apiKey ?? null;
    this.#headers = options.headers ?? {};
    this.#fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.#credentials = options.credentials ?? "same-origin";
  }

  /** Returns the headers that name the caller. */
  async headers() {
    const own = typeof this.#headers === "function" ? await askHeaders(this.#headers) : this.#headers;
    return { ...(this.#apiKey === null ? {} : { "X-API-Key": this.#apiKey }), ...own };
  }

  /** Returns the object that a GET responds with. */
  async get(path, query, signal) {
    return this.json("GET", path, { query, signal });
  }

  /** Sends a POST that creates something, once however often it is repeated. */
  async create(path, body, { key, signal } = {}) {
    return this.json("POST", path, { body, key: key ?? randomKey(), signal });
  }

  /** Sends a request and returns the object that is responded. */
  async json(method, path, options) {
    return parseObject(await (await this.send(method, path, options)).text());
  }

  /**
   * Sends a request and returns its 2xx response, with its body read. `body` is sent as JSON, `bytes` as they are.
   * Throws APIError, ConnectionFailed, or the reason of `signal`.
   */
  async send(method, path, { body, bytes, mediaType, query, key, repeat = true, signal } = {}) {
    const headers = key ? { "Idempotency-Key": key } : {};
    const content = bytes ?? (body === undefined ? undefined : JSON.stringify(body));
    if (content !== undefined) headers["Content-Type"] = mediaType ?? "application/json";
    const backoff = new Backoff(this.timeouts, this.timeouts.retryMs);
    for (;;) {
      let failure;
      try {
        const response = await this.#exchange(method, path, query, headers, content, signal);
        if (response.ok) return response;
        failure = errorFromResponse(response.status, jsonOrNull(await response.text()), retryAfter(response));
        if (!isPassing(failure, key, repeat)) throw failure;
      } catch (error) {
        if (error === failure || error instanceof GatewayError || signal?.aborted) throw error;
        if (!repeat && !NEVER_SENT.has(error?.cause?.code)) {
          throw new ConnectionFailed(`${method} ${path} broke off, and may have been performed.`, { cause: error });
        }
        failure = error;
      }
      await backoff.wait(failure, signal);
    }
  }

  /** Opens an SSE response; returns its reader of bytes, or null for a stream that will never have an event (204). */
  async openStream(path, query, after, signal) {
    const resumed = after === null ? {} : { "Last-Event-ID": after };
    const headers = { Accept: "text/event-stream", ...(await this.headers()), ...resumed };
    const response = await this.#request(path, query, { headers, signal });
    if (response.status === 204) return null;
    if (response.status !== 200) {
      throw errorFromResponse(response.status, jsonOrNull(await response.text()), retryAfter(response));
    }
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      await response.body?.cancel();
      throw new GatewayError("The response is not the gateway's: it is no event stream.");
    }
    return response.body.getReader();
  }

  /** One attempt, with the response's body in memory, so that the time-out covers it too. */
  async #exchange(method, path, query, headers, body, signal) {
    const [limit, release] = limited(signal, this.timeouts.requestMs);
    try {
      const all = { ...(await this.headers()), ...headers };
      const response = await this.#request(path, query, { method, headers: all, body, signal: limit });
      const content = response.status === 204 ? null : await response.arrayBuffer();
      return new Response(content, { status: response.status, headers: response.headers });
    } finally {
      release();
    }
  }

  /** A redirect is refused: it would take the key to another address. */
  async #request(path, query, init) {
    const address = this.baseUrl + path + queryText(query);
    const fixed = { cache: "no-store", redirect: "manual", credentials: this.#credentials };
    const response = await this.#fetch(address, { ...init, ...fixed });
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      throw new GatewayError(`${this.baseUrl} redirects: give the client the address that it leads to.`);
    }
    return response;
  }
}

/** Returns the path of these parts. What would lead to another path, and can be no id, is refused. */
export function pathOf(...parts) {
  const wrong = parts.find((part) => typeof part !== "string" || ["", ".", ".."].includes(part));
  if (wrong !== undefined) throw new GatewayError(`${JSON.stringify(wrong)} is no id and no name.`);
  return "/" + parts.map(encodeURIComponent).join("/");
}

/** Returns 128 random bits as text. `crypto.randomUUID` is not there on pages without TLS. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the fields that are given. */
export function given(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}

/** Returns the query of the fields that are given, with its question mark. */
export function queryText(fields) {
  const text = new URLSearchParams(given(fields ?? {})).toString();
  return text ? `?${text}` : "";
}

/** Returns the cursor of `Link: <…?cursor=…>; rel="next"`. */
export function nextCursor(link) {
  const address = /<([^>]*)>\s*;\s*rel="next"/.exec(link ?? "")?.[1];
  return address === undefined ? null : new URL(address, "http://gateway").searchParams.get("cursor");
}

/** Returns a signal that is aborted with `signal`, or after `ms`, and a function that ends it. */
function limited(signal, ms) {
  const controller = new AbortController();
  const pass = () => controller.abort(signal.reason);
  const expire = () => controller.abort(new TypeError(`no response within ${ms / 1000} s`));
  const timer = setTimeout(expire, ms);
  if (signal?.aborted) pass();
  signal?.addEventListener("abort", pass, { once: true });
  const release = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", pass);
  };
  return [controller.signal, release];
}

/** A failure of the page's function is no failure of the connection, and is not waited out. */
async function askHeaders(function_) {
  try {
    return await function_();
  } catch (error) {
    throw new GatewayError("The function 'headers' failed.", { cause: error });
  }
}

function isPassing(refusal, key, repeat) {
  if (refusal.status === 429) return refusal.code !== "queue_full";
  if (key && refusal.status === 409) return refusal.message.startsWith(IN_PROGRESS);
  return repeat && REPEATABLE_STATUSES.has(refusal.status);
}

function retryAfter(response) {
  const text = response.headers.get("retry-after") ?? "";
  return /^\d+$/.test(text) ? Number(text) : null;
}

function jsonOrNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
