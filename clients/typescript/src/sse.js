/**
 * The parser of text/event-stream: bytes in any pieces, frames out.
 *
 * A frame counts once its blank line has arrived, so a connection that breaks inside of one loses nothing: the position
 * before it is sent back, and the gateway repeats the frame.
 */

import { GatewayError } from "./errors.js";

/** The longest frame that is accepted, in characters; the gateway cuts its events at 256 KiB. */
export const LONGEST_FRAME = 16 * 1024 * 1024;

/** Keeps the text of the frame that is incomplete. A frame is `{type, id, data}`, with null where it has none. */
export class FrameParser {
  #decoder = new TextDecoder();
  #line = "";
  #endsWithCR = false;
  #length = 0;
  #frame = emptyFrame();

  /** Returns the frames that `bytes` complete. Throws GatewayError for a frame without an end. */
  feed(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return [];
    const lines = (this.#endsWithCR && text.startsWith("\n") ? text.slice(1) : text).split(/\r\n|\r|\n/);
    this.#endsWithCR = text.endsWith("\r");
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    const frames = [];
    for (const line of lines) {
      this.#length += line.length;
      if (line) this.#addField(line);
      else this.#endFrame(frames);
    }
    if (this.#length + this.#line.length > LONGEST_FRAME) {
      throw new GatewayError(`The stream has a frame of more than ${LONGEST_FRAME} characters.`);
    }
    return frames;
  }

  #addField(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#frame.data.push(value);
    else if (name === "event") this.#frame.type = value;
    else if (name === "id" && value && !value.includes("\0")) this.#frame.id = value;
  }

  #endFrame(frames) {
    const { type, id, data } = this.#frame;
    if (id !== null || data.length) frames.push({ type, id, data: data.length ? data.join("\n") : null });
    this.#frame = emptyFrame();
    this.#length = 0;
  }
}

function emptyFrame() {
  return { type: "message", id: null, data: [] };
}
