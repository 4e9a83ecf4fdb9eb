/** The controls of what waits for a person: approve, approve always, reject, answer. For the inbox and for sessions. */

import { allows, pathOf, transport } from "./api.js";
import { refreshNow } from "./activity.js";
import { el } from "./dom.js";
import { ask } from "./dialog.js";
import { ago } from "./format.js";
import { t } from "./text.js";
import { attempt, done, failed } from "./toast.js";
import { visible } from "./visible.js";

/** Sends an approval about the arguments that were shown; `remember` lets it stand for later calls of the tool here. */
export async function approve(sessionId, approval, { args, comment, remember } = {}) {
  const body = { approvalId: approval.approvalId, argsHash: approval.argsHash, args, comment: comment || undefined };
  if (remember) body.remember = "tool";
  const { remembered } = await decide(sessionId, "approve", body);
  done(t("Approved: {tool}", { tool: approval.toolName }));
  if (remember && remembered === false) done(t("A rule of the operator asks about each call of this tool."));
}

export async function reject(sessionId, approval, reason) {
  await decide(sessionId, "reject", { approvalId: approval.approvalId, reason: reason || undefined });
  done(t("Rejected: {tool}", { tool: approval.toolName }));
}

export async function respond(sessionId, question, response) {
  await decide(sessionId, "respond", { ref: question.ref, response });
  done(t("Answered."));
}

async function decide(sessionId, action, body) {
  try {
    return await transport.json("POST", `/v1/sessions${pathOf(sessionId, action)}`, { body });
  } finally {
    refreshNow();
  }
}

/** Returns what is to be decided: the tool, its arguments, and the buttons for people who may. */
export function approvalControls(sessionId, approval) {
  const box = el("div", { class: "decision" });
  box.append(el("p", {}, el("strong", {}, visible(approval.hint || t("This call needs your approval.")))));
  box.append(expiry(approval.expiresAt));
  if (!allows("approvals")) {
    box.append(el("p", { class: "quiet" }, t("Your role may not decide this.")));
    return box;
  }
  const run = (work) => async (event) => {
    if (!(await attempt(work, event.currentTarget))) return;
    for (const button of box.querySelectorAll("button")) button.disabled = true;
  };
  const button = (label, kind, work, key) => el("button", { type: "button", class: kind, onclick: run(work), dataset: { focus: `${approval.approvalId}-${key}` } }, label);
  box.append(
    el(
      "div",
      { class: "row" },
      button(t("Approve"), "main", () => approve(sessionId, approval), "approve"),
      button(t("Always approve this tool in this session"), "", () => approve(sessionId, approval, { remember: true }), "always"),
      button(t("Approve with changes…"), "", () => approveChanged(sessionId, approval), "change"),
      button(t("Reject…"), "danger", () => rejectWithReason(sessionId, approval), "reject"),
    ),
  );
  return box;
}

/** Asks for other arguments and a comment, and approves the call with them. */
export async function approveChanged(sessionId, approval) {
  const answer = await ask({
    title: t("Approve with changes"),
    button: t("Approve"),
    fields: [
      { name: "args", label: t("Arguments (JSON)"), value: JSON.stringify(approval.args, null, 2), rows: 8 },
      { name: "comment", label: t("Comment") },
    ],
  });
  if (answer === null) throw new DOMException("", "AbortError");
  let args;
  try {
    args = JSON.parse(answer.args);
  } catch {
    throw new Error(t("The arguments are no JSON."));
  }
  const changed = JSON.stringify(args) === JSON.stringify(approval.args) ? undefined : args;
  await approve(sessionId, approval, { args: changed, comment: answer.comment });
}

/** Asks for a reason, which the model is told, and rejects the call. */
export async function rejectWithReason(sessionId, approval) {
  const answer = await ask({
    title: t("Reject this call"),
    button: t("Reject"),
    danger: true,
    fields: [{ name: "reason", label: t("Reason, which the model is told (optional)") }],
  });
  if (answer === null) throw new DOMException("", "AbortError");
  await reject(sessionId, approval, answer.reason);
}

/** Returns a question with its options and a field for another answer. */
export function questionControls(sessionId, question) {
  const box = el("div", { class: "decision" });
  box.append(el("p", {}, el("strong", {}, visible(question.question))), expiry(question.expiresAt));
  if (!allows("sessions") && !allows("questions")) {
    box.append(el("p", { class: "quiet" }, t("Your role may not answer this.")));
    return box;
  }
  const send = async (answer, button) => {
    const sent = await attempt(() => respond(sessionId, question, answer), button);
    if (sent) for (const each of box.querySelectorAll("button, input")) each.disabled = true;
  };
  const options = question.options.map((option) =>
    el("button", { type: "button", onclick: (event) => send(option.id, event.currentTarget), dataset: { focus: `${question.ref}-${option.id}` } }, visible(option.label ?? option.id)),
  );
  const field = el("input", { "aria-label": t("Your answer"), placeholder: t("Your answer"), dataset: { focus: `${question.ref}-text` } });
  const submit = (event) => {
    event.preventDefault();
    if (field.value) send(field.value, event.submitter).catch(failed);
  };
  box.append(el("div", { class: "row" }, options), el("form", { class: "row answer", onsubmit: submit }, field, el("button", { class: "main" }, t("Answer"))));
  return box;
}

function expiry(iso) {
  return el("p", { class: "quiet small" }, t("Expires"), " ", ago(iso));
}

/** Returns JSON as a block of text in which nothing is hidden. */
export function jsonBlock(value, label) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return el("pre", { tabindex: "0", "aria-label": label }, visible(text ?? ""));
}
