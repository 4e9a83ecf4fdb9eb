/**
 * What happens in the tenant, for lists that are kept current: `onActivity` calls back at once, and whenever something
 * has happened. The gateway says so on one stream for the whole page. A page that nobody looks at lets go of it, because
 * a browser has few connections to one server, and asks now and then.
 */

import { transport } from "./api.js";
import { GatewayError } from "../agent-gateway-client/errors.js";
import { sseFollow } from "../agent-gateway-client/streams.js";
import { failed } from "./toast.js";

const HIDDEN_MS = 15_000;
/** What no frame tells of, such as a changed title, is seen after this time. */
const ANYWAY_MS = 60_000;

const callbacks = new Map();
const failures = { told: false };
let started = false;

/** Registers a function that refreshes a part of the page. It may be asynchronous, and is not called twice at a time. */
export function onActivity(refresh) {
  callbacks.set(refresh, { running: false, again: false });
  call(refresh);
  if (started) return;
  started = true;
  follow().catch(failed);
  setInterval(refreshNow, ANYWAY_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refreshNow();
  });
}

/** Refreshes everything now, after the person has done something. */
export function refreshNow() {
  for (const refresh of callbacks.keys()) call(refresh);
}

async function call(refresh) {
  const state = callbacks.get(refresh);
  if (state.running) {
    state.again = true;
    return;
  }
  state.running = true;
  try {
    do {
      state.again = false;
      await refresh();
    } while (state.again);
  } catch (error) {
    tell(error);
  } finally {
    state.running = false;
  }
}

/** Somebody who has signed out, or works in another tenant now, is told once; a connection that breaks comes back. */
function tell(error) {
  if (!(error instanceof GatewayError)) reportError(error);
  if (failures.told || ![401, 403, 409].includes(error?.status)) return;
  failures.told = true;
  failed(error);
}

async function follow() {
  while (!failures.told) {
    if (document.hidden) {
      refreshNow();
      await pause(HIDDEN_MS);
      continue;
    }
    const controller = new AbortController();
    const hidden = () => document.hidden && controller.abort(new DOMException("hidden", "AbortError"));
    document.addEventListener("visibilitychange", hidden);
    try {
      const options = { after: null, endsWith: () => false, signal: controller.signal };
      for await (const event of sseFollow(transport, "/v1/activity", options)) if (event) refreshNow();
    } catch (error) {
      if (!controller.signal.aborted) {
        tell(error);
        await pause(HIDDEN_MS);
      }
    } finally {
      document.removeEventListener("visibilitychange", hidden);
    }
  }
}

/** Waits, or until the person comes back to the page. */
function pause(ms) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    document.addEventListener("visibilitychange", end);
  });
}
