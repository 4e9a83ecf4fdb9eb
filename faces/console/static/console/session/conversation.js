/** The conversation of a run on the page: one element per item, drawn again when its item changes. */

import { approvalControls, jsonBlock, questionControls } from "../decision.js";
import { el } from "../dom.js";
import { dollars, duration, moment, stateBadge } from "../format.js";
import { renderMarkdown } from "../markdown.js";
import { t } from "../text.js";
import { visible } from "../visible.js";

/** So many items of a run are on the page at first, and so many more with each press of the button. */
const WINDOW = 80;
const LONGEST_RESULT = 20_000;

/** The part of the page that shows one run. */
export class RunView {
  #sessionId;
  #state;
  #fork;
  #shown = new Map();
  #window = WINDOW;
  #earlier;
  #list;

  /** `fork` is called with the id of the message up to which a new session takes the history; null where it is not allowed. */
  constructor(sessionId, state, { fork }) {
    this.#sessionId = sessionId;
    this.#state = state;
    this.#fork = fork;
    this.#earlier = el("button", { type: "button", class: "small", hidden: true, onclick: () => this.#showEarlier() });
    this.#list = el("div", { class: "items" });
    this.element = el("article", { class: "run", dataset: { run: state.requestId } }, this.#earlier, this.#list);
  }

  /** Names the person that the run belongs to. */
  setEndUser(endUser) {
    this.#state.endUser = endUser;
    for (const item of this.#state.items) if (item.kind === "prompt") item.version += 1;
  }

  /** Brings the page to the state of the run. */
  update() {
    const { items } = this.#state;
    const from = Math.max(0, items.length - this.#window);
    this.#earlier.hidden = from === 0;
    if (from > 0) this.#earlier.textContent = t("Show earlier steps ({count})", { count: from });
    const wanted = new Set(items.slice(from));
    for (const [item, drawn] of this.#shown) {
      if (wanted.has(item)) continue;
      drawn.element.remove();
      this.#shown.delete(item);
    }
    let last = null;
    for (const item of wanted) {
      const { element } = this.#drawn(item);
      // Asked after it is drawn, which may have replaced the element at this place.
      const place = last === null ? this.#list.firstElementChild : last.nextElementSibling;
      if (element !== place) this.#list.insertBefore(element, place);
      last = element;
    }
  }

  #showEarlier() {
    this.#window += 4 * WINDOW;
    this.update();
  }

  #drawn(item) {
    const old = this.#shown.get(item);
    if (old?.version === item.version) return old;
    if (old && old.refresh) {
      old.refresh(item);
      old.version = item.version;
      return old;
    }
    const made = this.#make(item);
    const drawn = { version: item.version, ...made };
    if (old) {
      const focus = old.element.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
      old.element.replaceWith(drawn.element);
      if (focus) drawn.element.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
    }
    this.#shown.set(item, drawn);
    return drawn;
  }

  #make(item) {
    if (item.kind === "prompt") return { element: promptNode(item, this.#state.endUser) };
    if (item.kind === "thinking") return thinkingNode(item);
    if (item.kind === "message") return this.#message(item);
    if (item.kind === "tool") return { element: this.#tool(item) };
    if (item.kind === "question") return { element: this.#question(item) };
    if (item.kind === "end") return { element: endNode(item) };
    return { element: noteNode(item) };
  }

  #message(item) {
    const text = el("div", { class: "markdown" });
    const foot = el("div", { class: "foot" });
    const element = el("div", { class: "item message" }, el("h3", { class: "who" }, t("Agent")), text, foot);
    const refresh = (current) => {
      renderMarkdown(text, current.text);
      element.classList.toggle("streaming", !current.complete);
      if (current.complete && this.#fork && !foot.childElementCount) {
        const fork = () => this.#fork(current.messageId);
        foot.append(el("button", { type: "button", class: "small", onclick: fork }, t("Fork from here…")));
      }
    };
    refresh(item);
    return { element, refresh };
  }

  #tool(item) {
    const took = item.durationMs === undefined ? "" : duration(item.durationMs);
    const head = el(
      "div",
      { class: "row" },
      el("h3", { class: "who" }, t("Tool"), " ", el("code", {}, visible(item.name))),
      stateBadge(item.approval && !item.approval.status && !item.over ? "waiting_approval" : item.status),
      el("span", { class: "quiet small" }, took),
    );
    const card = el("div", { class: "item tool" }, head);
    if (item.args !== null) card.append(folded(t("Arguments"), jsonBlock(item.args, t("Arguments")), Boolean(item.approval)));
    if (item.approval) card.append(this.#approval(item));
    if (item.byClient && item.status === "waiting") card.append(el("p", { class: "quiet" }, t("The connected client runs this tool.")));
    if (item.tested) card.append(el("p", { class: "quiet small" }, t("Tested by {name}", { name: item.tested })));
    if (item.result !== undefined) card.append(folded(t("Result"), resultNode(item), item.status !== "ok"));
    return card;
  }

  #approval(item) {
    const { approval } = item;
    if (!approval.status && !item.over) return approvalControls(this.#sessionId, approval);
    const line = el("p", { class: "small" }, stateBadge(approval.status ?? "rejected"));
    if (approval.by) line.append(" ", t("by {name}", { name: approval.by }));
    if (approval.comment) line.append(" · ", ...visible(approval.comment));
    return line;
  }

  #question(item) {
    const card = el("div", { class: "item question" }, el("h3", { class: "who" }, t("Question")));
    if (!item.status) card.append(questionControls(this.#sessionId, item));
    else card.append(el("p", {}, visible(item.question)), el("p", { class: "small" }, el("strong", {}, t("Answer"), ": "), item.response === null || item.response === undefined ? t("none") : visible(item.response)));
    return card;
  }
}

function promptNode(item, endUser) {
  const who = item.steering ? t("Added while it runs") : t("Person");
  const text = el("div", { class: "plain" }, visible(item.text));
  return el("div", { class: "item prompt" }, el("h3", { class: "who" }, who, " ", el("time", { class: "quiet small", datetime: item.at }, moment(item.at)), endUser ? el("span", { class: "quiet small" }, " · ", visible(endUser)) : null), text);
}

function thinkingNode(item) {
  const text = el("div", { class: "plain quiet" });
  const element = el("details", { class: "item thinking" }, el("summary", {}, t("Thinking")), text);
  const refresh = (current) => {
    text.textContent = current.text;
  };
  refresh(item);
  return { element, refresh };
}

function folded(title, content, open = false) {
  return el("details", { open }, el("summary", {}, title), content);
}

function resultNode(item) {
  const text = item.result.length > LONGEST_RESULT ? item.result.slice(0, LONGEST_RESULT) : item.result;
  const cut = item.truncated || text.length < item.result.length;
  return el("div", {}, jsonBlock(text, t("Result")), cut ? el("p", { class: "quiet small" }, t("The rest is not shown.")) : null);
}

function endNode(item) {
  if (item.type === "agent_end") {
    const parts = [duration(item.durationMs), `${item.tokenUsage.totalTokens} ${t("tokens")}`, dollars(item.costUsd, item.costKnown)];
    return el("p", { class: "item end quiet small" }, t("Done"), " · ", parts.join(" · "));
  }
  const text = [t("Ended without an answer"), item.reason, item.message].filter(Boolean).join(": ");
  return el("p", { class: "item end bad small" }, visible(text));
}

const NOTES = {
  agent_event: (data) => `${data.name}: ${JSON.stringify(data.data)}`,
  context_summarized: () => t("Earlier messages were summarized for the model."),
  context_truncated: () => t("Earlier messages were left out for the model."),
  error: (data) => `${data.code}: ${data.reason}`,
  model_fallback: (data) => t("The model changed from {from} to {to}: {reason}", data),
  model_switched: (data) => t("The model is now {model}.", data),
  provider_resumed: () => t("The provider answers again."),
  provider_waiting: (data) => t("The provider cannot be asked: {reason}", data),
  run_retried: (data) => t("Attempt {attempt} began: {reason}", data),
  session_updated: (data) => t("The session was changed: {fields}", { fields: Object.keys(data.changed).join(", ") }),
  steering_undelivered: (data) => t("The run ended before this text reached the model: {text}", data),
  tool_attached: (data) => t("The tool {toolName} was added.", data),
  tool_detached: (data) => t("The tool {toolName} was removed.", data),
  tool_unavailable: (data) => t("A tool of {server} is not available: {reason}", data),
};

function noteNode(item) {
  const kind = item.text === "error" ? "bad" : "quiet";
  return el("p", { class: `item note small ${kind}` }, visible(NOTES[item.text](item.data)));
}
