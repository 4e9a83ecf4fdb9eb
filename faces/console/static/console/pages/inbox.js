/** The inbox: kept current, and decided by mouse or keyboard. The conversation of a wait is read when it is opened. */

import { onActivity } from "../activity.js";
import { allows, pathOf, transport } from "../api.js";
import { announce, el, find, pageData } from "../dom.js";
import { approvalControls, approve, approveChanged, jsonBlock, questionControls, rejectWithReason, respond } from "../decision.js";
import { ago, keepTimesCurrent } from "../format.js";
import { LiveList } from "../live_list.js";
import { RunView } from "../session/conversation.js";
import { RunState } from "../session/run_state.js";
import { SessionLog } from "../session/session_log.js";
import { shortcut } from "../shortcuts.js";
import { t } from "../text.js";
import { attempt } from "../toast.js";
import { visible } from "../visible.js";

const { waits, query } = pageData();
const list = new LiveList(find("#waits"), { key: keyOf, render: card });
let shown = [];
let current = null;

show(waits);
onActivity(async () => show((await transport.get("/v1/inbox", query)).waits));
keepTimesCurrent();

function keyOf(wait) {
  return wait.approval?.approvalId ?? wait.question.ref;
}

function show(found) {
  const had = new Set(shown.map(keyOf));
  const index = shown.findIndex((wait) => keyOf(wait) === current);
  if (had.size && found.some((wait) => !had.has(keyOf(wait)))) announce(t("Something new waits for you."));
  shown = found;
  list.set(found);
  find("#empty").hidden = found.length > 0;
  // What was decided is gone: the next one takes its place.
  if (current !== null && !found.some((wait) => keyOf(wait) === current)) select(Math.min(Math.max(index, 0), found.length - 1));
}

function card(wait) {
  const key = keyOf(wait);
  const kind = wait.kind === "approval" ? [`${t("Approval")}: `, el("code", {}, visible(wait.approval.toolName))] : [t("Question")];
  const place = el("div", { class: "talk", tabindex: "0", role: "region", "aria-label": t("Conversation"), hidden: true });
  const open = () => showConversation(wait, place);
  const element = el(
    "article",
    { class: "card wait", tabindex: "-1", dataset: { wait: key, focus: key }, onfocusin: () => mark(key) },
    el("h2", {}, kind),
    el(
      "p",
      { class: "small" },
      el("a", { href: `/console/sessions${pathOf(wait.sessionId)}`, dataset: { focus: `${key}-link` } }, visible(wait.title || wait.sessionId)),
      " · ",
      visible(wait.agent || wait.model),
      ` · ${t("asked")} `,
      ago(wait.since),
    ),
    wait.approval ? jsonBlock(wait.approval.args, t("Arguments")) : null,
    wait.approval ? approvalControls(wait.sessionId, wait.approval) : questionControls(wait.sessionId, wait.question),
    allows("sessions:read") ? el("p", {}, el("button", { type: "button", class: "small", onclick: open, dataset: { focus: `${key}-talk` } }, t("Show the conversation"))) : null,
    place,
  );
  if (key === current) element.setAttribute("aria-current", "true");
  return element;
}

async function showConversation(wait, place) {
  place.hidden = !place.hidden;
  if (place.hidden || place.childElementCount) return;
  await attempt(async () => {
    const state = new RunState(wait.requestId);
    const view = new RunView(wait.sessionId, state, { fork: null });
    for await (const event of new SessionLog(wait.sessionId).runEvents({ requestId: wait.requestId })) state.apply(event);
    view.update();
    place.append(view.element);
  });
}

function mark(key) {
  current = key;
  for (const element of document.querySelectorAll(".wait")) {
    if (element.dataset.wait === key) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
  }
}

function select(index) {
  if (index < 0 || index >= shown.length) {
    current = null;
    return;
  }
  const key = keyOf(shown[index]);
  mark(key);
  const element = document.querySelector(`[data-wait="${CSS.escape(key)}"]`);
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const index = shown.findIndex((wait) => keyOf(wait) === current);
  select(index < 0 ? 0 : Math.min(Math.max(index + step, 0), shown.length - 1));
}

function chosen(kind) {
  return shown.find((wait) => keyOf(wait) === current && wait.kind === kind);
}

function onApproval(act) {
  return () => {
    const wait = chosen("approval");
    if (wait && allows("approvals")) attempt(() => act(wait.sessionId, wait.approval));
  };
}

shortcut("j", t("Next"), () => move(1));
shortcut("k", t("Previous"), () => move(-1));
shortcut("a", t("Approve"), onApproval((id, approval) => approve(id, approval)));
shortcut("A", t("Always approve this tool in this session"), onApproval((id, approval) => approve(id, approval, { remember: true })));
shortcut("e", t("Approve with changes…"), onApproval(approveChanged));
shortcut("r", t("Reject…"), onApproval(rejectWithReason));
shortcut("c", t("Show the conversation"), () => {
  document.querySelector(`[data-focus="${CSS.escape(`${current}-talk`)}"]`)?.click();
});
shortcut("o", t("Open the session"), () => document.querySelector(`[data-focus="${CSS.escape(`${current}-link`)}"]`)?.click());
shortcut("w", t("Write an answer"), () => document.querySelector(`[data-focus="${CSS.escape(`${current}-text`)}"]`)?.focus());
for (let number = 1; number <= 9; number += 1) {
  shortcut(String(number), t("Answer with option {number}", { number }), () => {
    const wait = chosen("question");
    const option = wait?.question.options[number - 1];
    if (option) attempt(() => respond(wait.sessionId, wait.question, option.id));
  });
}
