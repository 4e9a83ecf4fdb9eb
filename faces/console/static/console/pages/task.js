/** A task: its state, its text as it is written, and its events as they come. */

import { allows, gateway } from "../api.js";
import { announce, el, find, pageData } from "../dom.js";
import { moment } from "../format.js";
import { markdown, renderMarkdown } from "../markdown.js";
import { taskStatus } from "../task_status.js";
import { t } from "../text.js";
import { attempt, done, failed } from "../toast.js";
import { logLine } from "../event_log.js";

const { taskId } = pageData();
const ENDED = new Set(["completed", "failed", "cancelled"]);
const MOST_LINES = 500;
const cancel = find("#cancel");
const log = find("#log");
let text = "";

async function refresh() {
  const task = await gateway.tasks.get(taskId);
  const fields = [
    [t("Status"), taskStatus(task.status)],
    [t("Agents"), task.assignedAgents.map((id) => el("a", { href: `../agents/${encodeURIComponent(id)}` }, id, " "))],
    [t("Submitted"), moment(new Date(task.createdAt).toISOString())],
    [t("Changed"), moment(new Date(task.updatedAt).toISOString())],
    [t("Sessions"), task.sessionIds.map((id) => el("a", { href: `../sessions/${encodeURIComponent(id)}` }, id, " "))],
  ];
  if (task.sharedSpaceId) {
    const address = `../spaces/${encodeURIComponent(task.sharedSpaceId)}`;
    fields.push([t("Space"), el("a", { href: address }, task.sharedSpaceId)]);
  }
  if (task.pipelineId) fields.push([t("Pipeline"), `${task.pipelineId} · ${task.step}`]);
  find("#fields").replaceChildren(...fields.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  cancel.hidden = ENDED.has(task.status) || !allows("tasks");
  showResult(task);
  return task;
}

function showResult({ result, error }) {
  find("#result-part").hidden = result === null;
  if (result !== null) find("#result").replaceChildren(resultNode(result));
  find("#error-part").hidden = error === null;
  if (error !== null) find("#error").textContent = `${error.code}: ${error.message}`;
}

/** Returns the text of a result as Markdown, anything else as JSON. */
function resultNode(result) {
  const written = typeof result === "string" ? result : result?.content ?? result?.text ?? null;
  if (typeof written === "string") return markdown(written);
  return el("pre", { tabindex: 0 }, JSON.stringify(result, null, 2));
}

cancel.addEventListener("click", async () => {
  if (await attempt(() => gateway.tasks.cancel(taskId), cancel)) done(t("The task was cancelled."));
  await refresh();
});

try {
  const task = await refresh();
  if (!ENDED.has(task.status)) {
    for await (const event of gateway.tasks.events(taskId)) {
      find("#log-part").hidden = false;
      log.prepend(logLine(event));
      while (log.childElementCount > MOST_LINES) log.lastElementChild.remove();
      if (event.type === "task.progress") {
        text = event.data.reset ? event.data.delta ?? "" : text + event.data.delta;
        find("#text-part").hidden = false;
        renderMarkdown(find("#text"), text);
      } else if (event.type.startsWith("task.")) {
        await refresh();
      }
    }
    await refresh();
    announce(t("The task has ended."));
  }
} catch (error) {
  failed(error);
}
