/** Questions to the person in a dialog: a text, several fields, or a confirmation. */

import { el } from "./dom.js";
import { t } from "./text.js";

let number = 0;

/**
 * Asks for `fields`, each `{name, label, value?, type?, required?, rows?}`, and returns an object of their texts, or null
 * when the person has changed their mind. `danger` marks what cannot be undone.
 */
export function ask({ title, text = "", fields = [], button = t("OK"), danger = false }) {
  const id = `dialog-${(number += 1)}`;
  const inputs = fields.map((field) => [field, input(field)]);
  return new Promise((resolve) => {
    let answer = null;
    const accept = (event) => {
      event.preventDefault();
      answer = Object.fromEntries(inputs.map(([field, element]) => [field.name, element.value]));
      dialog.close();
    };
    const form = el(
      "form",
      { method: "dialog", onsubmit: accept },
      el("h2", { id }, title),
      text ? el("p", {}, text) : null,
      inputs.map(([field, element]) => el("label", {}, field.label, element)),
      el(
        "div",
        { class: "row" },
        el("button", { class: danger ? "danger" : "main" }, button),
        el("button", { type: "button", onclick: () => dialog.close() }, t("Cancel")),
      ),
    );
    const ended = () => {
      dialog.remove();
      resolve(answer);
    };
    const dialog = el("dialog", { "aria-labelledby": id, onclose: ended }, form);
    document.body.append(dialog);
    dialog.showModal();
    (inputs[0]?.[1] ?? form.querySelector("button")).focus();
  });
}

function input({ name, value = "", type = "text", required = false, rows = 0 }) {
  if (rows) return el("textarea", { name, rows, required, value });
  return el("input", { name, type, required, value });
}
