/**
 * A WebSocket for node (RFC 6455): the part of the browsers' interface that the client uses, and two things more.
 *
 * It sends headers, so that a key never stands in an address, and `refusal` has the response of a gateway that refused
 * the connection. node 20 has no WebSocket of its own, and later ones send no headers.
 */

import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
const NORMAL = 1000;
const PROTOCOL_ERROR = 1002;
const NO_CODE = 1005;
const BROKEN = 1006;
const NO_UTF8 = 1007;
const TOO_LARGE = 1009;
const MOST_BYTES = 16 * 1024 * 1024;
const MOST_REFUSAL_BYTES = 64 * 1024;
const CLOSE_MS = 1000;

export class NodeWebSocket {
  static sendsHeaders = true;

  #request;
  #socket = null;
  #parser = new MessageParser();
  #code = BROKEN;
  #closing = false;
  #ended = false;

  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  /** `{status, body, retryAfter}` of a response that was no upgrade. */
  refusal = null;

  constructor(address, { headers = {}, timeoutMs = 10_000 } = {}) {
    const url = new URL(address.replace(/^ws/, "http"));
    const key = randomBytes(16).toString("base64");
    const upgrade = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": 13,
      "Sec-WebSocket-Key": key,
    };
    const open = url.protocol === "https:" ? httpsRequest : httpRequest;
    this.#request = open(url, { headers: { ...headers, ...upgrade }, agent: false });
    this.#request.setTimeout(timeoutMs, () => this.#request.destroy(new Error("no response in time")));
    this.#request.on("upgrade", (response, socket, head) => this.#upgrade(response, socket, head, key));
    this.#request.on("response", (response) => this.#refuse(response));
    this.#request.on("error", (error) => this.#end(error));
    this.#request.end();
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  close(code = NORMAL) {
    if (this.#socket === null) this.#request.destroy();
    else this.#startClose(code);
  }

  #upgrade(response, socket, head, key) {
    const expected = createHash("sha1")
      .update(key + GUID)
      .digest("base64");
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(null));
    if (response.headers["sec-websocket-accept"] !== expected) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.setTimeout(0);
    socket.setNoDelay(true);
    this.onopen?.({});
    if (head.length) this.#read(head);
    socket.on("data", (bytes) => this.#read(bytes));
    socket.on("end", () => socket.destroy());
  }

  #refuse(response) {
    const pieces = [];
    let length = 0;
    const finish = () => {
      const retryAfter = Number(response.headers["retry-after"] ?? NaN);
      const body = jsonOrNull(Buffer.concat(pieces).toString());
      this.refusal = { status: response.statusCode, body, retryAfter: Number.isFinite(retryAfter) ? retryAfter : null };
      this.#end(null);
      this.#request.destroy();
    };
    response.on("data", (piece) => {
      length += piece.length;
      if (length > MOST_REFUSAL_BYTES) finish();
      else pieces.push(piece);
    });
    response.on("end", finish);
  }

  #read(bytes) {
    if (this.#ended) return;
    try {
      for (const { opcode, payload } of this.#parser.feed(bytes)) this.#take(opcode, payload);
    } catch (error) {
      this.#code = error instanceof ProtocolError ? error.code : NO_UTF8;
      this.#startClose(this.#code);
    }
  }

  #take(opcode, payload) {
    if (opcode === PING) this.#write(PONG, payload);
    else if (opcode === CLOSE) this.#takeClose(payload);
    else if (opcode === TEXT) this.onmessage?.({ data: new TextDecoder("utf-8", { fatal: true }).decode(payload) });
    else if (opcode === BINARY) this.onmessage?.({ data: payload });
  }

  #takeClose(payload) {
    this.#code = payload.length >= 2 ? payload.readUInt16BE(0) : NO_CODE;
    this.#startClose(this.#code === NO_CODE ? NORMAL : this.#code);
    this.#socket.end();
    this.#end(null);
  }

  #startClose(code) {
    if (this.#closing) return;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#write(CLOSE, payload);
    this.#closing = true;
    setTimeout(() => this.#socket.destroy(), CLOSE_MS).unref();
    this.#socket.unref();
  }

  #write(opcode, payload) {
    if (this.#closing || this.#ended || this.#socket === null || this.#socket.destroyed) return;
    this.#socket.write(encodeFrame(opcode, payload));
  }

  #end(error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket?.destroySoon();
    if (error) this.onerror?.({ error });
    this.onclose?.({ code: this.#code });
  }
}

class ProtocolError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The parser of a server's frames: bytes in any pieces, whole messages and control frames out. */
export class MessageParser {
  #bytes = Buffer.alloc(0);
  #waiting = [];
  #length = 0;
  #wanted = 2;
  #pieces = [];
  #size = 0;
  #opcode = null;

  /** Returns `{opcode, payload}` of each message that `bytes` complete. */
  feed(bytes) {
    this.#waiting.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#wanted) return []; // joined once per frame, and not once per piece
    this.#bytes = Buffer.concat(this.#waiting);
    const messages = [];
    for (let frame; (frame = this.#frame()) !== null;) {
      const message = this.#join(frame);
      if (message) messages.push(message);
    }
    this.#waiting = [this.#bytes];
    this.#length = this.#bytes.length;
    return messages;
  }

  #frame() {
    const bytes = this.#bytes;
    const short = bytes.length < 2 ? 0 : bytes[1] & 0x7f;
    const head = short === 127 ? 10 : short === 126 ? 4 : 2;
    this.#wanted = head;
    if (bytes.length < head) return null;
    if (bytes[0] & 0x70 || bytes[1] & 0x80) throw new ProtocolError(PROTOCOL_ERROR, "A server's frame is plain.");
    const size = head === 10 ? Number(bytes.readBigUInt64BE(2)) : head === 4 ? bytes.readUInt16BE(2) : short;
    if (size > MOST_BYTES) throw new ProtocolError(TOO_LARGE, `A frame has more than ${MOST_BYTES} bytes.`);
    this.#wanted = head + size;
    if (bytes.length < head + size) return null;
    this.#bytes = bytes.subarray(head + size);
    return { final: bytes[0] >= 0x80, opcode: bytes[0] & 0x0f, payload: bytes.subarray(head, head + size) };
  }

  #join({ final, opcode, payload }) {
    if (opcode >= CLOSE) {
      if (!final || payload.length > 125) throw new ProtocolError(PROTOCOL_ERROR, "A control frame is in pieces.");
      return { opcode, payload };
    }
    if ((opcode === CONTINUATION) === (this.#opcode === null)) {
      throw new ProtocolError(PROTOCOL_ERROR, "A message is in pieces that do not fit.");
    }
    this.#opcode ??= opcode;
    this.#size += payload.length;
    if (payload.length) this.#pieces.push(payload);
    if (this.#size > MOST_BYTES) {
      throw new ProtocolError(TOO_LARGE, `A message has more than ${MOST_BYTES} bytes.`);
    }
    if (!final) return null;
    const message = { opcode: this.#opcode, payload: Buffer.concat(this.#pieces) };
    this.#opcode = null;
    this.#pieces = [];
    this.#size = 0;
    return message;
  }
}

/** Returns a frame of a client, which is masked. */
export function encodeFrame(opcode, payload) {
  const size = payload.length;
  const head = Buffer.alloc(size < 126 ? 2 : size < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (head.length === 2 ? size : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(size, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(size), 2);
  const mask = randomBytes(4);
  const masked = Buffer.from(payload);
  for (let index = 0; index < size; index++) masked[index] ^= mask[index & 3];
  return Buffer.concat([head, mask, masked]);
}

function jsonOrNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
