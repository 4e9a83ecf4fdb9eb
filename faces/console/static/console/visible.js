/**
 * Texts of others with their invisible characters shown, for people who decide on what they read: characters that change
 * the order of others or take no place of their own become marked escapes.
 */

import { el } from "./dom.js";
import { t } from "./text.js";

const HIDDEN = /(?![\n\t ])[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Zs}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f]+/gu;

/** Returns the text as nodes. */
export function visible(text) {
  const parts = [];
  let end = 0;
  for (const found of String(text).matchAll(HIDDEN)) {
    parts.push(text.slice(end, found.index), el("mark", { title: t("an invisible character") }, escaped(found[0])));
    end = found.index + found[0].length;
  }
  return [...parts, String(text).slice(end)];
}

function escaped(characters) {
  return [...characters].map((each) => `\\u{${each.codePointAt(0).toString(16)}}`).join("");
}
