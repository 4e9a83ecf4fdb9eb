/**
 * What happens in the tenant, for lists that are kept current: `onActivity` calls back at once, whenever something may
 * have changed, and when the person comes back to the page.
 */

import { failed } from "./toast.js";

const SHOWN_MS = 3_000;
const HIDDEN_MS = 15_000;
const callbacks = new Set();
let timer = null;

/** Registers a function that refreshes a part of the page. It may be asynchronous, and is not called twice at a time. */
export function onActivity(refresh) {
  let running = false;
  const callback = async () => {
    if (running) return;
    running = true;
    try {
      await refresh();
    } finally {
      running = false;
    }
  };
  callbacks.add(callback);
  schedule(0);
}

/** Refreshes everything now, after the person has done something. */
export function refreshNow() {
  schedule(0);
}

function schedule(ms) {
  clearTimeout(timer);
  timer = setTimeout(tick, ms);
}

async function tick() {
  const outcomes = await Promise.allSettled([...callbacks].map((callback) => callback()));
  const refusal = outcomes.find(({ reason }) => [401, 403, 409].includes(reason?.status))?.reason;
  if (refusal) {
    // Signed out, or in another tenant meanwhile: asking again would change nothing.
    failed(refusal);
    return;
  }
  schedule(document.hidden ? HIDDEN_MS : SHOWN_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) schedule(0);
});
