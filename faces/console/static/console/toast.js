/** Short messages in a corner: what was done, and errors with the id that the gateway's log has. */

import { signInAgain } from "./api.js";
import { el, find } from "./dom.js";
import { t } from "./text.js";

const SHOWN_MS = 6_000;
const MOST = 5;

/** Says that something was done. */
export function done(text) {
  const toast = show(el("div", {}, text), "");
  setTimeout(() => toast.remove(), SHOWN_MS);
}

/** Shows an error until it is dismissed. Aborted requests are no errors. */
export function failed(error) {
  if (error?.name === "AbortError") return;
  if (error?.status === 401) {
    signInAgain();
    return;
  }
  const message = error?.message || String(error);
  const id = error?.errorId ? el("p", { class: "small quiet" }, t("Error id"), " ", el("code", {}, error.errorId)) : null;
  show(el("div", {}, el("strong", {}, t("This did not work")), el("p", {}, message), id), "failed");
}

/** Runs `work`, with `button` disabled meanwhile; shows what it throws. Returns true when it was done. */
export async function attempt(work, button = null) {
  if (button !== null) button.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    failed(error);
    return false;
  } finally {
    if (button !== null) button.disabled = false;
  }
}

function show(content, kind) {
  const place = find("#toasts");
  const toast = el("div", { class: `toast ${kind}`, role: kind ? "alert" : null }, content);
  toast.append(el("button", { type: "button", class: "small", onclick: () => toast.remove() }, t("Close")));
  while (place.childElementCount >= MOST) place.firstElementChild.remove();
  place.append(toast);
  return toast;
}
