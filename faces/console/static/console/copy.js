/** Copying a text to the clipboard. */

import { t } from "./text.js";
import { done, failed } from "./toast.js";

/** Copies the text, and says so. Pages without TLS have no clipboard: the person is told to select the text. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    done(t("Copied."));
  } catch {
    failed(new Error(t("This browser does not let the page copy: select the text and copy it.")));
  }
}
