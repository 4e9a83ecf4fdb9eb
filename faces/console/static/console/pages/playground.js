/** Playground: one conversation, or two side by side, with the settings of the form; and the same as a program. */

import { gateway } from "../api.js";
import { copyText } from "../copy.js";
import { announce, el, find } from "../dom.js";
import { program } from "../playground_programs.js";
import { PlaygroundSettings } from "../playground_settings.js";
import { Talk } from "../playground_talk.js";
import { t } from "../text.js";
import { attempt } from "../toast.js";

const NAMES = { curl: "curl", python: "Python", javascript: "JavaScript" };
const columns = find("#columns");
const form = find("#prompt");
const send = find("#send");
const stop = find("#stop");
let talks = [];
let lastPrompt = "";
let changedMeanwhile = false;

const settings = new PlaygroundSettings();
settings.onchange = changed;
restart();

/** Settings belong to a session: one that has begun keeps its own, and the next prompt begins another. */
function changed() {
  changedMeanwhile = talks.some((talk) => talk.running);
  if (changedMeanwhile) return;
  if (talks.some((talk) => talk.started)) announce(t("The next prompt begins a new conversation with these settings."));
  restart();
}

function restart() {
  changedMeanwhile = false;
  for (const talk of talks) talk.close();
  talks = settings.targets.map((target) => new Talk(target, createSession));
  columns.replaceChildren(...talks.map((talk) => talk.element));
  columns.classList.toggle("two", talks.length > 1);
}

function createSession(target, tools) {
  const { model, ...fields } = settings.fields(target);
  const all = { ...fields, title: t("Playground"), tools: [...settings.tools, ...tools] };
  return gateway.sessions.create(model ?? null, all);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = form.elements.text;
  const text = field.value;
  if (!text.trim() || talks.some((talk) => talk.running) || !settings.check()) return;
  if (changedMeanwhile) restart();
  lastPrompt = text;
  field.value = "";
  send.disabled = true;
  stop.disabled = false;
  await Promise.all(talks.map((talk) => talk.prompt(text, settings.own)));
  send.disabled = false;
  stop.disabled = true;
  field.focus();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(send);
});
stop.addEventListener("click", () => attempt(() => Promise.all(talks.map((talk) => talk.stop()))));
find("#restart").addEventListener("click", () => {
  restart();
  form.elements.text.focus();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => showProgram(button.dataset.copy));
}

function showProgram(language) {
  if (!settings.check()) return;
  const [target] = settings.targets;
  const parts = { settings: settings.fields(target), tools: settings.tools, own: settings.own };
  const prompt = form.elements.text.value.trim() || lastPrompt || t("Hello");
  const text = program(language, location.origin, parts, prompt);
  const close = el("button", { type: "button", onclick: () => dialog.close() }, t("Close"));
  const copy = el("button", { type: "button", class: "main", onclick: () => copyText(text) }, t("Copy"));
  const dialog = el(
    "dialog",
    { class: "wide", "aria-labelledby": "program-title", onclose: () => dialog.remove() },
    el("h2", { id: "program-title" }, t("The same with {language}", { language: NAMES[language] })),
    el("p", { class: "quiet small" }, t("The program reads an API key from GATEWAY_KEY.")),
    el("pre", { class: "program", tabindex: 0 }, text),
    el("div", { class: "row" }, copy, close),
  );
  document.body.append(dialog);
  dialog.showModal();
  copy.focus();
}
