/** Tasks: a page of the list at a time, renewed when the tenant's stream says that a task has changed. */

import { allows, gateway } from "../api.js";
import { el, find } from "../dom.js";
import { ago } from "../format.js";
import { LiveList } from "../live_list.js";
import { followMesh } from "../mesh.js";
import { take } from "../paged.js";
import { taskStatus } from "../task_status.js";
import { t } from "../text.js";
import { attempt, done, failed } from "../toast.js";

const FIRST = 50;
const ENDED = new Set(["completed", "failed", "cancelled"]);
const form = find("#filters");
const more = find("#more");
const empty = find("#empty");
let wanted = FIRST;

const agent = new URLSearchParams(location.search).get("agent");
if (agent !== null) form.elements.agent.value = agent;

const list = new LiveList(find("#rows"), { key: (task) => task.id, render: row });

function row(task) {
  const cancel = el(
    "button",
    { type: "button", class: "small danger", dataset: { focus: "cancel" }, onclick: (event) => end(task, event.target) },
    t("Cancel"),
    el("span", { class: "unseen" }, ` ${task.id}`),
  );
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  return el(
    "tr",
    {},
    cell(t("Task"), el("a", { href: `tasks/${encodeURIComponent(task.id)}` }, task.id)),
    cell(t("Status"), taskStatus(task.status)),
    cell(t("Agents"), task.assignedAgents.join(", ") || "–"),
    cell(t("Submitted"), ago(iso(task.createdAt))),
    cell(t("Changed"), ago(iso(task.updatedAt))),
    cell(t("Actions"), allows("tasks") && !ENDED.has(task.status) ? cancel : "–"),
  );
}

function iso(milliseconds) {
  return new Date(milliseconds).toISOString();
}

async function end(task, button) {
  const cancelled = await attempt(() => gateway.tasks.cancel(task.id), button);
  if (cancelled) done(t("The task {id} was cancelled.", { id: task.id }));
  await refresh();
}

async function refresh() {
  const filters = { status: form.elements.status.value || undefined, agent: form.elements.agent.value || undefined };
  try {
    const { items, rest } = await take(gateway.tasks.list(filters), wanted);
    list.set(items);
    more.hidden = !rest;
    empty.hidden = items.length > 0;
    empty.textContent = t("There is no such task.");
  } catch (error) {
    failed(error);
  }
}

form.addEventListener("input", refresh);
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => {
  wanted += FIRST;
  refresh();
});
await refresh();
followMesh((event) => (event.type.startsWith("task.") && event.type !== "task.progress" ? refresh() : null));
