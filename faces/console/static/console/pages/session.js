/** The page of one session: what is in its log, and then everything that happens, as it happens. */

import { allows, gateway, pathOf, transport } from "../api.js";
import { onActivity } from "../activity.js";
import { announce, el, find, pageData } from "../dom.js";
import { ask } from "../dialog.js";
import { ago, count, dollars, keepTimesCurrent, stateBadge } from "../format.js";
import { RunView } from "../session/conversation.js";
import { EventsPanel } from "../session/events_panel.js";
import { exportJson, exportMarkdown } from "../session/export.js";
import { RunState, stateOfMessages } from "../session/run_state.js";
import { SessionLog } from "../session/session_log.js";
import { Timeline } from "../session/timeline.js";
import { TimelineView } from "../session/timeline_view.js";
import { shortcut } from "../shortcuts.js";
import { t } from "../text.js";
import { attempt, done, failed } from "../toast.js";
import { visible } from "../visible.js";

const TIMELINE_MS = 500;
const HIDDEN_MS = 30_000;
const END_FRAMES = 4;

const { session } = pageData();
const id = session.sessionId;
const log = new SessionLog(id);
const talk = find("#talk");
const panel = new EventsPanel(id, find("#events"), find("#event-detail"));
const runs = new Map();
const changed = new Set();
let position = String(session.lastEventIndex);
let working = false;
let newestMessage = null;
let lastTimeline = 0;

/** One run with everything that shows it. */
class RunOnPage {
  constructor(requestId) {
    this.state = new RunState(requestId);
    this.timeline = new Timeline();
    this.view = new RunView(id, this.state, { fork: allows("sessions") ? forkFrom : null });
    this.timelineView = new TimelineView(requestId, this.timeline);
    this.timelineStale = true;
  }

  apply(event) {
    if (!this.state.apply(event)) return false;
    this.timeline.apply(event);
    if (event.type === "message_end") newestMessage = event.data.messageId;
    if (!event.type.endsWith("_delta")) this.timelineStale = true;
    return true;
  }

  async addCosts() {
    this.timeline.addCosts(await log.responses(this.state.requestId));
    this.timelineStale = true;
    redraw(this);
  }
}

function runOf(requestId) {
  if (!runs.has(requestId)) place(new RunOnPage(requestId), null);
  return runs.get(requestId);
}

/** Puts a run on the page, in front of another or at the end. */
function place(run, before) {
  runs.set(run.state.requestId, run);
  removePainted();
  find("#runs").insertBefore(run.view.element, before?.view.element ?? null);
  find("#timeline").insertBefore(run.timelineView.element, before?.timelineView.element ?? null);
}

/** Removes what the server has painted, which is in the runs. */
function removePainted() {
  for (const painted of document.querySelectorAll("#runs > :not(.run)")) painted.remove();
}

/** Draws what changed, once before the next picture, however many events came. */
function redraw(run) {
  if (!changed.size) requestAnimationFrame(draw);
  changed.add(run);
}

function draw() {
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  const lately = performance.now() - lastTimeline > TIMELINE_MS;
  const drawn = [...changed];
  changed.clear();
  for (const run of drawn) {
    run.view.update();
    if (run.timelineStale && (lately || run.state.ended)) {
      run.timelineView.update();
      run.timelineStale = false;
      lastTimeline = performance.now();
    }
  }
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

async function loadEarlier() {
  const page = await log.earlierRuns();
  const first = runs.values().next().value ?? null;
  const order = [...runs];
  // The events of all runs are read before the first is shown, so that the page moves once.
  const loaded = await Promise.all(page.runs.filter((run) => !runs.has(run.requestId)).map(load));
  const before = page.more ? [] : await log.messagesBefore();
  if (before.length) showBefore(before);
  runs.clear();
  for (const [info, run] of loaded) {
    place(run, first);
    run.view.update();
    run.timelineView.update();
    run.timelineStale = false;
    if (info.turns) run.addCosts().catch(failed);
  }
  for (const [requestId, run] of order) runs.set(requestId, run);
  find("#earlier").hidden = !page.more;
}

function showBefore(messages) {
  const view = new RunView(id, stateOfMessages(messages), { fork: allows("sessions") ? forkFrom : null });
  newestMessage ??= messages.findLast((message) => message.role === "assistant")?.id ?? null;
  removePainted();
  find("#runs").prepend(view.element);
  view.update();
}

/** Reads a run. Its events are applied page by page, so that a long one leaves the page time for input. */
async function load(info) {
  const run = new RunOnPage(info.requestId);
  run.state.endUser = info.endUser;
  for await (const event of log.runEvents(info)) run.apply(event);
  return [info, run];
}

function take(event) {
  position = event.id;
  if (event.type === "events_dropped") {
    // What this page shows is void in part, if the log was set back: it is made anew.
    if (event.data.reason === "reset") location.reload();
    return;
  }
  panel.add(event);
  const { requestId } = event.data;
  if (requestId) {
    const run = runOf(requestId);
    if (run.apply(event)) redraw(run);
    if (event.type === "prompt_received") nameEndUser(run).catch(failed);
    if (event.type === "message_end") announce(event.data.content.slice(0, 400));
    if (event.type === "agent_end" || event.type === "agent_abort") run.addCosts().catch(failed);
  }
  if (!event.type.endsWith("_delta")) refreshSoon();
}

/** The events of a run do not say whose it is. */
async function nameEndUser(run) {
  const { endUser } = await transport.get(`${log.path}/runs${pathOf(run.state.requestId)}`);
  if (endUser === null) return;
  run.view.setEndUser(endUser);
  redraw(run);
}

let refreshTimer = null;

function refreshSoon() {
  refreshTimer ??= setTimeout(() => {
    refreshTimer = null;
    refresh().catch(failed);
  }, 300);
}

async function refresh() {
  const info = await transport.get(log.path);
  find("#state").replaceChildren(stateBadge(info.state));
  find("#model").replaceChildren(...visible(info.model));
  find("#tokens").textContent = count(info.totalTokens);
  find("#cost").textContent = dollars(info.costUsd, info.costKnown);
  find("#updated").replaceChildren(ago(info.updatedAt));
  working = !["idle", "closed"].includes(info.state);
  for (const button of document.querySelectorAll("#abort, #steer")) button.hidden = !working;
  await showRemembered();
  if (info.state === "closed") for (const part of document.querySelectorAll("#say, #abort, #switch-model")) part.hidden = true;
}

/** Shows the tools whose calls need no approval any more, for people who may change their mind. */
async function showRemembered() {
  const { tools } = await transport.get(`${log.path}/remembered-approvals`);
  const place = find("#remembered");
  place.hidden = tools.length === 0;
  place.replaceChildren(el("span", { class: "quiet" }, t("Always approved here:")), ...tools.map(rememberedNode));
}

function rememberedNode({ toolName, by }) {
  const forget = async (event) => {
    const path = `${log.path}/remembered-approvals${pathOf(toolName)}`;
    const button = event.currentTarget;
    await attempt(() => transport.send("DELETE", path), button);
    await refresh();
  };
  const button = el("button", { type: "button", class: "small", onclick: forget }, t("Ask again"));
  return el("span", { class: "row", title: t("by {name}", { name: by }) }, el("code", {}, visible(toolName)), allows("approvals") ? button : null);
}

/** Follows the session; a page that nobody looks at lets go of its connection, and goes on where it was. */
async function follow() {
  const connection = find("#connection");
  for (;;) {
    const controller = new AbortController();
    const stop = letGoWhenHidden(controller);
    try {
      connection.textContent = t("live");
      for await (const event of log.follow(position, controller.signal)) take(event);
      connection.textContent = t("closed");
      return;
    } catch (error) {
      if (!controller.signal.aborted) {
        connection.textContent = t("not live: reload the page");
        throw error;
      }
    } finally {
      stop();
    }
    await untilVisible();
  }
}

function letGoWhenHidden(controller) {
  let timer = null;
  const watch = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => controller.abort(new DOMException("hidden", "AbortError")), HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", watch);
  watch();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", watch);
  };
}

function untilVisible() {
  return new Promise((resolve) => {
    const check = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
    check();
  });
}

async function send(button) {
  const field = find("#prompt");
  const text = field.value.trim();
  if (!text) return;
  await attempt(async () => {
    await transport.create(`${log.path}/prompt`, { text });
    field.value = "";
    talk.scrollTop = talk.scrollHeight;
  }, button);
  field.focus();
}

async function steer(button) {
  const field = find("#prompt");
  const text = field.value.trim();
  if (!text) {
    field.focus();
    return;
  }
  await attempt(async () => {
    await transport.json("POST", `${log.path}/steer`, { body: { text }, repeat: false });
    field.value = "";
    done(t("The text joins the current run."));
  }, button);
}

async function abort(button) {
  const answer = await ask({ title: t("Abort the current run?"), text: t("What it waits for is dropped. Queued prompts go on."), button: t("Abort"), danger: true, fields: [{ name: "reason", label: t("Reason (optional)") }] });
  if (answer === null) return;
  const body = answer.reason ? { reason: answer.reason } : {};
  await attempt(() => transport.json("POST", `${log.path}/abort`, { body, repeat: false }), button);
}

async function switchModel(button) {
  const answer = await ask({ title: t("Switch the model"), text: t("The session uses it from its next leg on."), button: t("Switch"), fields: [{ name: "model", label: t("Model (provider:model)"), value: find("#model").textContent, required: true }] });
  if (answer === null) return;
  await attempt(async () => {
    await transport.json("POST", `${log.path}/switch_model`, { body: { model: answer.model.trim() } });
    done(t("The model is now {model}.", { model: answer.model }));
  }, button);
}

async function forkFrom(messageId) {
  const answer = await ask({ title: t("Fork this session"), text: t("A new session gets the conversation up to this message."), button: t("Fork"), fields: [{ name: "title", label: t("Title (optional)") }] });
  if (answer === null) return;
  await attempt(async () => {
    const body = { messageId, title: answer.title || undefined };
    const fork = await transport.create(`${log.path}/fork`, body);
    location.assign(`/console/sessions${pathOf(fork.sessionId)}`);
  });
}

async function forkFromEnd(button) {
  let messageId = newestMessage;
  if (messageId === null) {
    const found = await gateway.sessions.get(id);
    for await (const message of found.messages()) messageId = message.id;
  }
  if (messageId === null) failed(new Error(t("There is no message to fork from yet.")));
  else await forkFrom(messageId);
  button.focus();
}

/** Scrolls to the end. Items out of view have a height only when they come near, so it takes some pictures. */
function showEnd(frames) {
  talk.scrollTop = talk.scrollHeight;
  if (frames) requestAnimationFrame(() => showEnd(frames - 1));
}

function on(selector, action) {
  const button = document.querySelector(selector);
  button?.addEventListener("click", () => action(button)?.catch?.(failed));
}

on("#abort", abort);
on("#steer", steer);
on("#switch-model", switchModel);
on("#fork", forkFromEnd);
on("#earlier", () => loadEarlier());
on("#export-json", (button) => attempt(() => exportJson(id), button));
on("#export-markdown", (button) => attempt(() => exportMarkdown(id), button));

const form = document.querySelector("#say");
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  send(find("#send"));
});
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
if (form) shortcut("p", t("Write a prompt"), () => find("#prompt").focus());

keepTimesCurrent();
panel.reach(position);
setInterval(() => {
  for (const run of runs.values()) {
    if (!run.state.ended && run.timeline.spans.length) {
      run.timelineStale = true;
      redraw(run);
    }
  }
}, 1_000);
await attempt(loadEarlier);
showEnd(END_FRAMES);
onActivity(refresh);
follow().catch(failed);
