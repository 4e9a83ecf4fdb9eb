/**
 * Pages that the gateway renders, kept current: the page is asked for again, and its parts that are marked `data-live`
 * and have an id take the place of those that are shown, unless somebody is reading or filling them.
 */

const HIDDEN_TIMES = 10;
let timer = null;
let pause = 0;

/** Renews the marked parts every `ms`, more seldom while the page is hidden. */
export function renewEvery(ms) {
  pause = ms;
  schedule();
}

/** Renews the marked parts now, after the person has done something. */
export async function renewNow() {
  try {
    await renew();
  } finally {
    if (pause) schedule();
  }
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(renewNow, document.hidden ? pause * HIDDEN_TIMES : pause);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && pause) renewNow();
});

async function renew() {
  const fresh = await pageAgain();
  if (fresh === null) return;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next === null || isBusy(part) || next.isEqualNode(part)) continue;
    const open = [...part.querySelectorAll("details")].map((details) => details.open);
    const copy = document.importNode(next, true);
    copy.querySelectorAll("details").forEach((details, index) => (details.open = open[index] ?? false));
    part.replaceWith(copy);
  }
}

/** True while the part has the focus or a selection, which would be lost. */
function isBusy(part) {
  const selection = document.getSelection();
  const selected = selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
  return selected || part.contains(document.activeElement);
}

/** Returns the page as the gateway has it now, or null. Scripts of a document that is read like this never run. */
function pageAgain() {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 15_000;
    request.onload = () => resolve(request.status === 200 ? request.response : null);
    request.onerror = request.ontimeout = () => resolve(null);
    request.send();
  });
}
