/** Keys: issue, rotate and revoke. A secret is in this page only while its dialog is open. */

import { pathOf, transport } from "../api.js";
import { copyText } from "../copy.js";
import { ask } from "../dialog.js";
import { el, find, pageData } from "../dom.js";
import { renewNow } from "../renew.js";
import { t } from "../text.js";
import { attempt, done } from "../toast.js";

const { scopes } = pageData();

find("#issue").addEventListener("click", () => issueDialog());
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-rotate], [data-revoke]");
  if (button === null) return;
  const { rotate, revoke, name } = button.dataset;
  await (rotate === undefined ? revokeKey(revoke, name, button) : rotateKey(rotate, name, button));
});

async function rotateKey(id, name, button) {
  const text = t("The old secret of {name} stops at once. Programs that use it fail until they have the new one.", { name });
  if ((await ask({ title: t("Rotate {name}?", { name }), text, button: t("Rotate"), danger: true })) === null) return;
  await attempt(async () => {
    const path = `/v1/keys${pathOf(id, "rotate")}`;
    await showSecret(await transport.create(path, {}, {}));
  }, button);
  await renewNow();
}

async function revokeKey(id, name, button) {
  const text = t("Programs that use {name} are refused from now on. This cannot be undone.", { name });
  if ((await ask({ title: t("Revoke {name}?", { name }), text, button: t("Revoke"), danger: true })) === null) return;
  if (await attempt(() => transport.send("DELETE", `/v1/keys${pathOf(id)}`), button)) done(t("{name} is revoked.", { name }));
  await renewNow();
}

function issueDialog() {
  const boxes = scopes.map((scope) =>
    el("label", { class: "row" }, el("input", { type: "checkbox", name: "scope", value: scope }), el("code", {}, scope)),
  );
  const submit = el("button", { class: "main" }, t("Issue"));
  const issue = async (event) => {
    event.preventDefault();
    const { name, rpm, expires } = form.elements;
    const body = {
      name: name.value,
      scopes: [...form.querySelectorAll('input[name="scope"]:checked')].map((box) => box.value),
      ...(rpm.value === "" ? {} : { rpm: Number(rpm.value) }),
      ...(expires.value === "" ? {} : { expiresAt: new Date(expires.value).toISOString() }),
    };
    let issued = null;
    const create = async () => (issued = await transport.create("/v1/keys", body, {}));
    if (!(await attempt(create, submit))) return;
    dialog.close();
    await showSecret(issued);
    await renewNow();
  };
  const form = el(
    "form",
    { onsubmit: issue },
    el("h2", { id: "issue-title" }, t("Issue a key")),
    el("label", {}, t("Name"), el("input", { name: "name", required: true, maxlength: 100 })),
    el("fieldset", {}, el("legend", {}, t("Scopes")), boxes),
    el("label", {}, t("Requests per minute (empty: the gateway's; 0: no limit)"), el("input", { name: "rpm", type: "number", min: 0 })),
    el("label", {}, t("Expires (empty: never)"), el("input", { name: "expires", type: "datetime-local" })),
    el("div", { class: "row" }, submit, el("button", { type: "button", onclick: () => dialog.close() }, t("Cancel"))),
  );
  const dialog = el("dialog", { "aria-labelledby": "issue-title", onclose: () => dialog.remove() }, form);
  document.body.append(dialog);
  dialog.showModal();
}

/** Shows a secret until the person closes the dialog; it is nowhere else afterwards. */
function showSecret({ secret, name }) {
  return new Promise((resolve) => {
    const copy = el("button", { type: "button", class: "main", onclick: () => copyText(secret) }, t("Copy"));
    const close = el("button", { type: "button", onclick: () => dialog.close() }, t("I have stored it"));
    const ended = () => {
      dialog.remove();
      resolve();
    };
    const dialog = el(
      "dialog",
      { "aria-labelledby": "secret-title", onclose: ended },
      el("h2", { id: "secret-title" }, t("The secret of {name}", { name })),
      el("p", {}, t("It is shown this once. The gateway stores its hash and cannot show it again.")),
      el("p", {}, el("code", { id: "secret" }, secret)),
      el("div", { class: "row" }, copy, close),
    );
    document.body.append(dialog);
    dialog.showModal();
    copy.focus();
  });
}
