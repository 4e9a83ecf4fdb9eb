/** The form of the playground: what a session is created with, and the tools that the person has described. */

import { ask } from "./dialog.js";
import { el, find } from "./dom.js";
import { t } from "./text.js";
import { failed } from "./toast.js";
import { visible } from "./visible.js";

const OPTIONS = ["temperature", "top_p", "seed"];
const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;
const EXAMPLE = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

/** The settings as they are filled in; `onchange` is called after each change. */
export class PlaygroundSettings {
  #form = find("#settings");
  #own = [];
  onchange = () => {};

  constructor() {
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", () => this.#changed());
    find("#add-tool").addEventListener("click", () => this.#addTool());
    this.#changed();
  }

  /** The one or two models or agents that are asked: `{model}` or `{agent}`, with their `name`. */
  get targets() {
    const { target, other, compare } = this.#form.elements;
    return (compare.checked ? [target, other] : [target]).map(targetOf);
  }

  /** The fields of the session of a target, without tools. */
  fields({ model, agent }) {
    const { system, maxTokens, maxTurns, reasoning_effort: effort } = this.#form.elements;
    const providerOpts = Object.fromEntries(
      OPTIONS.filter((name) => this.#form.elements[name].value !== "").map((name) => [
        name,
        Number(this.#form.elements[name].value),
      ]),
    );
    if (effort.value) providerOpts.reasoning_effort = effort.value;
    return {
      ...(model ? { model } : { agent }),
      ...(system.value.trim() ? { systemPrompt: system.value } : {}),
      ...(maxTokens.value ? { maxTokens: Number(maxTokens.value) } : {}),
      ...(maxTurns.value ? { maxTurns: Number(maxTurns.value) } : {}),
      ...(Object.keys(providerOpts).length ? { providerOpts } : {}),
    };
  }

  /** The names of the gateway's tools that are ticked. */
  get tools() {
    return [...this.#form.querySelectorAll('input[name="tool"]:checked')].map((box) => box.value);
  }

  /** The tools that the person has described, as registrations. */
  get own() {
    return [...this.#own];
  }

  /** Shows what is wrong with a field, and returns false, when something is. */
  check() {
    return this.#form.reportValidity();
  }

  async #addTool() {
    const answer = await ask({
      title: t("A tool of yours"),
      text: t("The model may call it; you type its answer."),
      fields: [
        { name: "name", label: t("Name"), required: true },
        { name: "description", label: t("Description, for the model"), required: true },
        { name: "parameters", label: t("Parameters (JSON Schema)"), rows: 8, value: JSON.stringify(EXAMPLE, null, 2) },
      ],
      button: t("Add"),
    });
    if (answer === null) return;
    try {
      this.#own = [...this.#own.filter(({ name }) => name !== answer.name), described(answer)];
    } catch (error) {
      failed(error);
    }
    this.#showOwn();
    this.#changed();
  }

  #showOwn() {
    const line = (each) =>
      el(
        "li",
        { class: "row" },
        el("code", {}, visible(each.name)),
        el("button", { type: "button", class: "small", onclick: () => this.#remove(each) }, t("Remove"), el("span", { class: "unseen" }, ` ${each.name}`)),
      );
    find("#own-tools").replaceChildren(...this.#own.map(line));
  }

  #remove(gone) {
    this.#own = this.#own.filter((each) => each !== gone);
    this.#showOwn();
    this.#changed();
    find("#add-tool").focus();
  }

  #changed() {
    find("#other-part").hidden = !this.#form.elements.compare.checked;
    this.onchange();
  }
}

function targetOf(select) {
  const [kind, ...rest] = select.value.split(":");
  return { [kind]: rest.join(":"), name: select.selectedOptions[0]?.textContent ?? "" };
}

function described({ name, description, parameters }) {
  if (!NAME.test(name)) throw new Error(t("A tool's name has up to 64 letters, digits, “_” and “-”, and begins with a letter."));
  let schema;
  try {
    schema = JSON.parse(parameters);
  } catch (error) {
    throw new Error(t("The parameters are no JSON: {reason}", { reason: error.message }));
  }
  return { name, description, parameters: schema };
}
