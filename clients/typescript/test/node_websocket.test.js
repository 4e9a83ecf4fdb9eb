/** The WebSocket for node: frames in any pieces, and a real connection. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import test from "node:test";
import { MessageParser, NodeWebSocket, encodeFrame } from "../src/node_websocket.js";

/** A frame as a server sends it: without a mask. */
function frame(opcode, payload, { final = true } = {}) {
  const body = Buffer.from(payload);
  const head = body.length < 126 ? [body.length] : [126, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([(final ? 0x80 : 0) | opcode, ...head]), body]);
}

const BYTES = Buffer.concat([
  frame(1, "é\u{1F600}"),
  frame(9, "p"),
  frame(1, "a", { final: false }),
  frame(9, ""),
  frame(0, "", { final: false }),
  frame(0, "b"),
  frame(1, "x".repeat(300)),
]);
const MESSAGES = [
  [1, "é\u{1F600}"],
  [9, "p"],
  [9, ""],
  [1, "ab"],
  [1, "x".repeat(300)],
];

test("pieces of any size give the same messages", () => {
  const feed = (pieces) => {
    const parser = new MessageParser();
    return pieces.flatMap((piece) => parser.feed(piece)).map(({ opcode, payload }) => [opcode, payload.toString()]);
  };
  assert.deepEqual(feed(Array.from(BYTES, (byte) => Buffer.of(byte))), MESSAGES);
  for (let cut = 0; cut <= BYTES.length; cut++) {
    assert.deepEqual(feed([BYTES.subarray(0, cut), BYTES.subarray(cut)]), MESSAGES);
  }
});

for (const [name, bytes] of Object.entries({
  "a masked frame": encodeFrame(1, Buffer.from("x")),
  "a frame with an extension": Buffer.from([0xc1, 0]),
  "a continuation of nothing": frame(0, "x"),
  "a message inside of a message": Buffer.concat([frame(1, "a", { final: false }), frame(1, "b")]),
  "a ping in pieces": frame(9, "x", { final: false }),
  "a frame of more than can be kept": Buffer.from([0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]),
})) {
  test(`${name} is refused`, () => {
    assert.throws(() => new MessageParser().feed(bytes));
  });
}

test("a message that is longer than can be kept is refused, in however many frames", () => {
  const parser = new MessageParser();
  const piece = Buffer.concat([Buffer.from([0x01, 127]), Buffer.alloc(8), Buffer.alloc(6_000_000)]);
  piece.writeBigUInt64BE(6_000_000n, 2);
  parser.feed(piece);
  piece[0] = 0;
  parser.feed(piece);
  assert.throws(() => parser.feed(piece), /bytes/);
});

async function serving(work, onUpgrade, onRequest = (_request, response) => response.end()) {
  const sockets = new Set();
  const server = createServer(onRequest)
    .on("upgrade", onUpgrade)
    .on("connection", (socket) => sockets.add(socket));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await work(`ws://127.0.0.1:${server.address().port}/x?since=0`);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

function accept(request, socket) {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accepted = createHash("sha1").update(key).digest("base64");
  const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  socket.write([...head, `Sec-WebSocket-Accept: ${accepted}`, "", ""].join("\r\n"));
}

/** Opens a socket; returns what it told. */
function told(address, options) {
  const socket = new NodeWebSocket(address, options);
  const seen = { socket, opened: 0, messages: [] };
  socket.onopen = () => seen.opened++;
  socket.onmessage = ({ data }) => seen.messages.push(data);
  return new Promise((resolve) => {
    socket.onclose = ({ code }) => resolve({ ...seen, code });
  });
}

test("messages, pings and the close code of a server arrive, and headers go there", async () => {
  const pongs = [];
  const upgrade = (request, socket) => {
    assert.equal(request.headers["x-api-key"], "k");
    accept(request, socket);
    socket.write(Buffer.concat([frame(1, "one"), frame(9, "p"), frame(8, Buffer.from([0x0f, 0xa0]))]));
    socket.on("data", (bytes) => pongs.push(bytes[0]));
  };
  await serving(async (address) => {
    const { opened, messages, code } = await told(address, { headers: { "X-API-Key": "k" } });
    assert.deepEqual([opened, messages, code], [1, ["one"], 4000]);
  }, upgrade);
});

test("a refusal is there with its body and its pause", async () => {
  const refuse = (_request, socket) => {
    const body = '{"error":"unavailable"}';
    const head = ["HTTP/1.1 503 Busy", "Retry-After: 3", `Content-Length: ${body.length}`, "Connection: close", "", ""];
    socket.end(head.join("\r\n") + body);
  };
  await serving(async (address) => {
    const { socket, opened, code } = await told(address);
    assert.deepEqual(socket.refusal, { status: 503, body: { error: "unavailable" }, retryAfter: 3 });
    assert.deepEqual([opened, code], [0, 1006]);
  }, refuse);
});

test("a server of something else, a broken connection and no server are closed sockets", async () => {
  const wrong = (_request, socket) => {
    const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    socket.write([...head, "Sec-WebSocket-Accept: x", "", ""].join("\r\n"));
  };
  await serving(async (address) => assert.equal((await told(address)).code, 1006), wrong);
  await serving(
    async (address) => assert.equal((await told(address)).code, 1006),
    (_request, socket) => socket.destroy(),
  );
  let gone;
  await serving(async (address) => (gone = address), wrong);
  assert.equal((await told(gone)).code, 1006);
});

test("text that is no UTF-8 closes the socket", async () => {
  const upgrade = (request, socket) => {
    accept(request, socket);
    socket.write(frame(1, Buffer.from([0xff])));
    socket.on("data", () => socket.end());
  };
  await serving(async (address) => assert.equal((await told(address)).code, 1007), upgrade);
});
