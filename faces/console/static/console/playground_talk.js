/** One conversation of the playground: a session, its turns as they are written, and what it asks the person. */

import { gateway, visit } from "./api.js";
import { tool } from "../agent-gateway-client/tools.js";
import { announce, el } from "./dom.js";
import { count, dollars, duration } from "./format.js";
import { renderMarkdown } from "./markdown.js";
import { t } from "./text.js";
import { failed } from "./toast.js";
import { visible } from "./visible.js";

export class Talk {
  #target;
  #create;
  #session = null;
  #stream = null;
  #turns = el("div", { class: "turns", role: "log", "aria-live": "off" });
  #link = el("span", { class: "small" });
  #figures = el("p", { class: "quiet small", role: "status" });
  #blocks = new Map();
  #unfinished = new Set();
  #thought = null;

  /** `create` returns the session, with the tools that it is given. */
  constructor(target, create) {
    this.#target = target;
    this.#create = create;
    const title = el("h2", {}, visible(target.name), " ", this.#link);
    this.#turns.append(el("p", { class: "quiet" }, t("Talk to it: its answers appear here.")));
    this.element = el("section", { class: "card talk", "aria-label": target.name }, title, this.#turns, this.#figures);
  }

  get running() {
    return this.#stream !== null;
  }

  get started() {
    return this.#session !== null;
  }

  /** Sends a prompt and shows its run, to the end. */
  async prompt(text, own) {
    if (this.#session === null) this.#turns.replaceChildren();
    this.#turns.append(el("div", { class: "turn mine" }, visible(text)));
    const tools = own.map((each) => tool(each, (args, context) => this.#typeResult(each, args, context)));
    const began = performance.now();
    let first = null;
    try {
      if (this.#session === null) await this.#open(tools);
      this.#stream = this.#session.prompt(text, {
        tools,
        onApproval: (event, context) => this.#decide(event, context),
        onQuestion: (event, context) => this.#answer(event, context),
      });
      for await (const event of this.#stream) {
        if (first === null && /^(message|thinking)_delta$/.test(event.type)) first = performance.now() - began;
        this.#show(event, first);
      }
    } catch (error) {
      this.#note("failed", error.message || String(error));
      failed(error);
    } finally {
      this.#stream = null;
    }
  }

  /** Ends the current run. */
  async stop() {
    if (this.#session !== null && this.running) await this.#session.abort({ reason: "stopped in the playground" });
  }

  /** Follows the run no more, which goes on. */
  close() {
    this.#stream?.close();
  }

  async #open(tools) {
    this.#session = await this.#create(this.#target, tools);
    const address = `sessions/${encodeURIComponent(this.#session.id)}`;
    this.#link.replaceChildren(visit.scopes.includes("sessions") ? el("a", { href: address }, t("its session")) : "");
  }

  #show({ type, data }, first) {
    if (type === "message_delta") this.#grow(data.messageId, data.delta);
    else if (type === "message_end") this.#finish(data.messageId, data.content);
    else if (type === "thinking_delta") this.#think(data.delta);
    else if (type === "run_retried") this.#dropUnfinished();
    else if (type === "tool_execution_start") this.#note("", t("Tool {name} is called.", { name: data.toolName }));
    else if (type === "error") this.#note("failed", data.reason);
    else if (type === "agent_abort") this.#note("failed", data.message || data.reason);
    else if (type === "agent_end") this.#end(data, first);
    if (type !== "thinking_delta") this.#thought = null;
  }

  #grow(id, delta) {
    let block = this.#blocks.get(id);
    if (block === undefined) {
      block = { text: "", element: el("div", { class: "turn markdown" }), drawn: false };
      this.#blocks.set(id, block);
      this.#unfinished.add(id);
      this.#turns.append(block.element);
    }
    block.text += delta;
    this.#draw(block);
  }

  /** Draws a block once per frame, however many words come. */
  #draw(block) {
    if (block.drawn) return;
    block.drawn = true;
    requestAnimationFrame(() => {
      block.drawn = false;
      renderMarkdown(block.element, block.text);
    });
  }

  #finish(id, content) {
    this.#grow(id, "");
    const block = this.#blocks.get(id);
    block.text = content;
    this.#unfinished.delete(id);
    this.#draw(block);
  }

  #think(delta) {
    if (this.#thought === null) {
      const text = el("p", {});
      this.#thought = text;
      this.#turns.append(el("details", { class: "turn thought" }, el("summary", {}, t("Thoughts")), text));
    }
    this.#thought.textContent += delta;
  }

  #dropUnfinished() {
    for (const id of this.#unfinished) {
      this.#blocks.get(id).element.remove();
      this.#blocks.delete(id);
    }
    this.#unfinished.clear();
  }

  #note(kind, text) {
    this.#turns.append(el("div", { class: `turn ${kind}` }, visible(text)));
  }

  #end({ tokenUsage, costUsd, costKnown, durationMs, lastMessage }, first) {
    const parts = [
      first === null ? null : t("first output after {time}", { time: duration(first) }),
      t("whole run {time}", { time: duration(durationMs) }),
      t("{count} tokens", { count: count(tokenUsage.totalTokens) }),
      dollars(costUsd, costKnown),
    ];
    this.#figures.textContent = parts.filter(Boolean).join(" · ");
    announce(t("{name} has answered: {text}", { name: this.#target.name, text: lastMessage.content.slice(0, 500) }));
  }

  /** Shows a form and returns what is typed into it; rejects when the run does not wait for it any more. */
  #ask(title, fields, buttons, signal) {
    return new Promise((resolve, reject) => {
      const choose = (event) => {
        event.preventDefault();
        const value = event.submitter?.value ?? "";
        form.remove();
        resolve({ choice: value, text: form.elements.text?.value ?? "" });
      };
      const form = el("form", { class: "turn asks", onsubmit: choose }, el("strong", {}, visible(title)), fields, el("div", { class: "row" }, buttons));
      signal.addEventListener("abort", () => {
        form.remove();
        reject(signal.reason);
      });
      this.#turns.append(form);
      announce(title);
      form.querySelector("textarea, input, button")?.focus();
    });
  }

  async #typeResult({ name }, args, { signal }) {
    const shown = el("pre", { tabindex: 0 }, visible(JSON.stringify(args, null, 2)));
    const field = el("label", {}, t("The tool's answer, as text or JSON"), el("textarea", { name: "text", rows: 2 }));
    const title = t("The model calls {name}", { name });
    const { text } = await this.#ask(title, [shown, field], el("button", { class: "main" }, t("Answer")), signal);
    this.#note("", `${name}: ${text}`);
    return jsonOrText(text);
  }

  async #decide({ data }, { signal }) {
    const shown = el("pre", { tabindex: 0 }, visible(JSON.stringify(data.args, null, 2)));
    const hint = data.hint ? el("p", {}, visible(data.hint)) : null;
    const buttons = [
      el("button", { class: "main", value: "yes" }, t("Approve")),
      el("button", { class: "danger", value: "no" }, t("Reject")),
    ];
    const title = t("May {name} be called?", { name: data.toolName });
    const { choice } = await this.#ask(title, [hint, shown], buttons, signal);
    this.#note("", choice === "yes" ? t("You approved {name}.", { name: data.toolName }) : t("You rejected {name}.", { name: data.toolName }));
    return choice === "yes";
  }

  async #answer({ data }, { signal }) {
    const options = data.options.map(({ id, label }) => el("button", { value: id, class: "small" }, visible(label)));
    const field = options.length ? null : el("label", {}, t("Your answer"), el("textarea", { name: "text", rows: 2, required: true }));
    const buttons = options.length ? options : el("button", { class: "main" }, t("Answer"));
    const { choice, text } = await this.#ask(data.question, field, buttons, signal);
    this.#note("", data.options.find(({ id }) => id === choice)?.label ?? text);
    return choice || text;
  }
}

function jsonOrText(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
