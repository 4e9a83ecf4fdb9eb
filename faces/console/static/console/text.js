/**
 * The words of scripts, in the page's language. English texts are their own keys; `strings/<language>.js` has the others.
 * A key that is not there is shown in English.
 */

const language = document.documentElement.lang.toLowerCase();
const strings = language === "en" ? {} : (await import(`./strings/${language}.js`)).default;

/** Returns the text in the page's language, with `{name}` replaced by the fields of that name. */
export function t(text, fields = {}) {
  return (strings[text] ?? text).replace(/\{(\w+)\}/g, (place, name) => String(fields[name] ?? place));
}
