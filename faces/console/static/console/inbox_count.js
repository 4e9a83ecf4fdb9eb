/** The number of things that wait for a person, in the menu and in the title of the browser's tab. */

import { onActivity } from "./activity.js";
import { allows, transport } from "./api.js";

const title = document.title;
const listeners = new Set();
let last = null;

/** Calls back with the number whenever it is known anew. */
export function onInboxCount(listener) {
  listeners.add(listener);
  if (last !== null) listener(last);
}

export function startInboxCount() {
  const place = document.querySelector("[data-inbox-count]");
  if (place === null || !allows("approvals")) return;
  onActivity(async () => show(place, (await transport.get("/v1/inbox", { limit: 1 })).total));
}

function show(place, total) {
  last = total;
  place.textContent = total > 999 ? "999+" : String(total);
  place.hidden = total === 0;
  document.title = total ? `(${total}) ${title}` : title;
  for (const listener of listeners) listener(total);
}
