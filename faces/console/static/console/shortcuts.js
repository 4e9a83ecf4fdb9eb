/** Keyboard shortcuts: pages register theirs, and `?` shows them all. Keys that are typed into a field are not taken. */

import { el } from "./dom.js";
import { t } from "./text.js";

const registered = new Map();
const FIELDS = "input, textarea, select, [contenteditable]";

/** Registers a shortcut of one key for this page. */
export function shortcut(key, description, action) {
  registered.set(key, { description, action });
}

/** Shows the page's shortcuts. */
export function showShortcuts() {
  if (document.querySelector("#shortcuts")) return;
  const rows = [...registered].map(([key, { description }]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, description)]);
  const close = el("button", { type: "button", class: "main", onclick: () => dialog.close() }, t("Close"));
  const dialog = el(
    "dialog",
    { id: "shortcuts", "aria-labelledby": "shortcuts-title", onclose: () => dialog.remove() },
    el("h2", { id: "shortcuts-title" }, t("Keyboard shortcuts")),
    el("dl", {}, rows),
    el("p", {}, close),
  );
  document.body.append(dialog);
  dialog.showModal();
}

export function startShortcuts() {
  registered.set("?", { description: t("Show these shortcuts"), action: showShortcuts });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target instanceof Element && event.target.closest(`${FIELDS}, dialog`)) return;
    const found = registered.get(event.key);
    if (!found) return;
    event.preventDefault();
    found.action();
  });
}
