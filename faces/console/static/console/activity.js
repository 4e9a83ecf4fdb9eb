/**
 * What happens in the tenant, for lists that are kept current: `onActivity` calls back at once, whenever something may
 * have changed, and when the person comes back to the page.
 */

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
  await Promise.allSettled([...callbacks].map((callback) => callback()));
  schedule(document.hidden ? HIDDEN_MS : SHOWN_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) schedule(0);
});
