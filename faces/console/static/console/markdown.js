/**
 * Markdown of models as DOM nodes: paragraphs, headings, lists, quotes, tables, fenced code, emphasis, code and links.
 *
 * It never makes markup from text, so nothing in an answer is executed, whatever it says: HTML is shown as it is typed,
 * links lead to http, https and mailto only and tell the target nothing, and images are links, because loading one would
 * tell its server who reads. It is our own because the console has no build step and takes no copies of other people's
 * code, and every library for it makes an HTML text that has to be cleaned again. Its work grows with the length of the
 * text alone.
 */

import { el } from "./dom.js";
import { t } from "./text.js";

const LONGEST = 400_000;
const DEEPEST = 8;
const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const rendered = new WeakMap();

/**
 * Shows the text in `container`. Called again with a text that has grown, it replaces only the blocks that changed, so
 * that a long answer can be streamed and a selection in it stays.
 */
export function renderMarkdown(container, text) {
  const blocks = splitBlocks(text.slice(0, LONGEST).replace(/\r\n?/g, "\n").split("\n"));
  const before = rendered.get(container) ?? [];
  let same = 0;
  while (same < blocks.length && same < before.length && blocks[same].source === before[same]) same += 1;
  while (container.childNodes.length > same) container.lastChild.remove();
  for (const block of blocks.slice(same)) container.append(blockNode(block, 0));
  if (text.length > LONGEST) container.append(el("p", { class: "quiet" }, t("The rest of this text is not shown.")));
  rendered.set(container, text.length > LONGEST ? [] : blocks.map((block) => block.source));
}

/** Returns the text as an element of class `markdown`. */
export function markdown(text) {
  const element = el("div", { class: "markdown" });
  renderMarkdown(element, text);
  return element;
}

/** Cuts lines into blocks, `{kind, lines, source}`. */
function splitBlocks(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [kind, end] = blockAt(lines, at);
    const part = lines.slice(at, end);
    blocks.push({ kind, lines: part, source: `${kind}\n${part.join("\n")}` });
    at = end;
  }
  return blocks;
}

function blockAt(lines, start) {
  const line = lines[start];
  if (FENCE.test(line)) return ["code", fenceEnd(lines, start)];
  if (HEADING.test(line)) return ["heading", start + 1];
  if (RULE.test(line)) return ["rule", start + 1];
  if (QUOTE.test(line)) return ["quote", runEnd(lines, start, (each) => QUOTE.test(each))];
  if (ITEM.test(line)) return ["list", listEnd(lines, start)];
  if (isTable(lines, start)) return ["table", runEnd(lines, start, (each) => each.includes("|"))];
  return ["paragraph", paragraphEnd(lines, start)];
}

function fenceEnd(lines, start) {
  const fence = FENCE.exec(lines[start])[1];
  for (let at = start + 1; at < lines.length; at += 1) {
    const text = lines[at].trim();
    if (text.startsWith(fence) && text === fence[0].repeat(text.length)) return at + 1;
  }
  return lines.length;
}

function runEnd(lines, start, belongs) {
  let at = start + 1;
  while (at < lines.length && lines[at].trim() && belongs(lines[at])) at += 1;
  return at;
}

function listEnd(lines, start) {
  let at = start + 1;
  while (at < lines.length) {
    const line = lines[at];
    const next = lines[at + 1] ?? "";
    if (!line.trim() && !(ITEM.test(next) || /^\s{2,}\S/.test(next))) break;
    if (line.trim() && !ITEM.test(line) && !/^\s/.test(line) && !lines[at - 1].trim()) break;
    at += 1;
  }
  return at;
}

function isTable(lines, start) {
  return lines[start].includes("|") && lines.length > start + 1 && TABLE_RULE.test(lines[start + 1]);
}

function paragraphEnd(lines, start) {
  let at = start + 1;
  while (at < lines.length && lines[at].trim()) {
    const line = lines[at];
    if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line)) break;
    at += 1;
  }
  return at;
}

function blockNode({ kind, lines }, depth) {
  if (kind === "code") return codeNode(lines);
  if (kind === "heading") return headingNode(lines[0]);
  if (kind === "rule") return el("hr");
  if (kind === "table") return tableNode(lines);
  if (kind === "list" && depth < DEEPEST) return listNode(lines, depth);
  if (kind === "quote" && depth < DEEPEST) {
    const inner = lines.map((line) => line.replace(QUOTE, ""));
    return el("blockquote", {}, splitBlocks(inner).map((block) => blockNode(block, depth + 1)));
  }
  return el("p", {}, inlineNodes(lines.join("\n")));
}

function codeNode(lines) {
  const closed = lines.length > 1 && /^\s*(`{3,}|~{3,})\s*$/.test(lines.at(-1));
  const language = FENCE.exec(lines[0])[2];
  const code = lines.slice(1, closed ? -1 : undefined).join("\n");
  return el("pre", { tabindex: "0" }, el("code", { "data-language": language || null }, code));
}

/** Headings of an answer begin below those of the page. */
function headingNode(line) {
  const [, marks, text] = HEADING.exec(line);
  return el(`h${Math.min(6, marks.length + 2)}`, {}, inlineNodes(text));
}

function tableNode(lines) {
  const [head, , ...rows] = lines.map(tableCells);
  const cells = (row, tag) => head.map((_, column) => el(tag, {}, inlineNodes(row[column] ?? "")));
  const body = rows.map((row) => el("tr", {}, cells(row, "td")));
  const table = el("table", {}, el("thead", {}, el("tr", {}, cells(head, "th"))), el("tbody", {}, body));
  return el("div", { class: "table", tabindex: "0" }, table);
}

function tableCells(line) {
  const text = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function listNode(lines, depth) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length + 1) items.push([item[3]]);
    else items.at(-1).push(line.replace(/^(?: {1,4}|\t)/, ""));
  }
  const ordered = /\d/.test(mark);
  const start = ordered && parseInt(mark, 10) !== 1 ? parseInt(mark, 10) : null;
  return el(ordered ? "ol" : "ul", { start }, items.map((item) => itemNode(item, depth)));
}

function itemNode(lines, depth) {
  const blocks = splitBlocks(lines);
  const [first, ...rest] = blocks;
  if (first?.kind !== "paragraph") return el("li", {}, blocks.map((block) => blockNode(block, depth + 1)));
  return el("li", {}, inlineNodes(first.lines.join("\n")), rest.map((block) => blockNode(block, depth + 1)));
}

/** Returns the nodes of a text within a block. */
export function inlineNodes(text, depth = 0) {
  return new Inline(text, depth).nodes();
}

const MARKS = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "s"],
  ["*", "em"],
  ["_", "em"],
];
const ADDRESS = /^https?:\/\/[^\s<>"']+/;
const ESCAPABLE = /[\\`*_{}[\]()#+\-.!|~<>]/;
const SPECIAL = /[\\`*_~[!<h\n]/g;

class Inline {
  #text;
  #depth;
  #at = 0;
  #plain = "";
  #nodes = [];
  #unclosed = new Set();

  constructor(text, depth) {
    this.#text = text;
    this.#depth = depth;
  }

  nodes() {
    while (this.#at < this.#text.length) {
      SPECIAL.lastIndex = this.#at;
      const next = SPECIAL.exec(this.#text)?.index ?? this.#text.length;
      this.#plain += this.#text.slice(this.#at, next);
      this.#at = next;
      if (next < this.#text.length && !this.#take(this.#text[next])) {
        this.#plain += this.#text[next];
        this.#at += 1;
      }
    }
    this.#flush();
    return this.#nodes;
  }

  #take(character) {
    if (character === "\\") return this.#escape();
    if (character === "\n") return this.#break();
    if (character === "`") return this.#code();
    if (character === "h") return this.#address();
    if (this.#depth >= DEEPEST) return false;
    if (character === "[") return this.#link(this.#at, false);
    if (character === "!" && this.#text[this.#at + 1] === "[") return this.#link(this.#at + 1, true);
    return this.#emphasis();
  }

  #escape() {
    const next = this.#text[this.#at + 1];
    if (next === undefined || !ESCAPABLE.test(next)) return false;
    this.#plain += next;
    this.#at += 2;
    return true;
  }

  #break() {
    const hard = this.#plain.endsWith("  ");
    this.#plain = `${this.#plain.replace(/ +$/, "")}${hard ? "" : "\n"}`;
    this.#flush();
    if (hard) this.#nodes.push(el("br"));
    this.#at += 1;
    return true;
  }

  #code() {
    const fence = /^`+/.exec(this.#text.slice(this.#at, this.#at + 64))[0];
    const end = this.#find(fence, this.#at + fence.length);
    if (end < 0) {
      this.#plain += fence;
      this.#at += fence.length;
      return true;
    }
    this.#push(el("code", {}, this.#text.slice(this.#at + fence.length, end).trim()), end + fence.length);
    return true;
  }

  #address() {
    if (/\w$/.test(this.#plain) || this.#depth >= DEEPEST) return false;
    const found = ADDRESS.exec(this.#text.slice(this.#at, this.#at + 2_000));
    if (!found) return false;
    const address = found[0].replace(/[.,;:!?)\]*_~]+$/, "");
    const link = linkNode(address, [address]);
    if (link === null) return false;
    this.#push(link, this.#at + address.length);
    return true;
  }

  #link(open, isImage) {
    const close = this.#find("](", open + 1);
    if (close < 0) return false;
    const end = this.#find(")", close + 2);
    if (end < 0) return false;
    const words = this.#text.slice(open + 1, close);
    if (words.includes("\n\n")) return false;
    const address = this.#text.slice(close + 2, end).trim().split(/\s/)[0].replace(/^<|>$/g, "");
    const shown = isImage ? [t("Image: {name}", { name: words || address })] : inlineNodes(words, this.#depth + 1);
    const link = linkNode(address, shown);
    this.#push(link ?? el("span", {}, shown, ` (${address})`), end + 1);
    return true;
  }

  #emphasis() {
    for (const [mark, tag] of MARKS) {
      if (!this.#text.startsWith(mark, this.#at)) continue;
      const start = this.#at + mark.length;
      if (/[\s]/.test(this.#text[start] ?? " ")) continue;
      if (mark[0] === "_" && /\w$/.test(this.#plain)) continue;
      const end = this.#find(mark, start + 1);
      if (end < 0 || /\s/.test(this.#text[end - 1])) continue;
      if (mark[0] === "_" && /\w/.test(this.#text[end + mark.length] ?? "")) continue;
      this.#push(el(tag, {}, inlineNodes(this.#text.slice(start, end), this.#depth + 1)), end + mark.length);
      return true;
    }
    return false;
  }

  /** Finds a closing mark. What was once looked for in vain is not looked for again. */
  #find(mark, from) {
    if (this.#unclosed.has(mark)) return -1;
    const found = this.#text.indexOf(mark, from);
    if (found < 0) this.#unclosed.add(mark);
    return found;
  }

  #push(node, at) {
    this.#flush();
    this.#nodes.push(node);
    this.#at = at;
  }

  #flush() {
    if (this.#plain) this.#nodes.push(this.#plain);
    this.#plain = "";
  }
}

/** Returns a link, or null for an address that is not absolute or of another scheme. */
export function linkNode(address, shown) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (!PROTOCOLS.has(url.protocol)) return null;
  return el("a", { href: url.href, rel: "noopener noreferrer nofollow", target: "_blank" }, shown);
}
