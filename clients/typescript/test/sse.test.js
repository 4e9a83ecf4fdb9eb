/** The parser of event streams. */

import assert from "node:assert/strict";
import test from "node:test";
import { GatewayError } from "../index.js";
import { FrameParser, LONGEST_FRAME } from "../src/sse.js";

const TEXT = [
  'retry: 1000\nid: 1\nevent: a\ndata: {"é\u{1F600}":1}\n\n',
  ": heartbeat\nid: 2.7\n\nevent: b\nid: 3\ndata: {}\ndata:x\n\n",
].join("");
const FRAMES = [
  { type: "a", id: "1", data: '{"é\u{1F600}":1}' },
  { type: "message", id: "2.7", data: null },
  { type: "b", id: "3", data: "{}\nx" },
];

const feed = (pieces) => {
  const parser = new FrameParser();
  return pieces.flatMap((piece) => parser.feed(piece));
};

for (const [name, end] of [
  ["LF", "\n"],
  ["CR LF", "\r\n"],
  ["CR", "\r"],
]) {
  test(`pieces of any size give the same frames, with lines that end with ${name}`, () => {
    const bytes = Buffer.from(TEXT.replaceAll("\n", end));
    assert.deepEqual(feed([bytes]), FRAMES);
    assert.deepEqual(feed(Array.from(bytes, (byte) => Uint8Array.of(byte))), FRAMES);
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        assert.deepEqual(feed(pieces), FRAMES);
      }
    }
  });
}

test("an incomplete frame is no frame", () => {
  assert.deepEqual(feed([Buffer.from("id: 1\ndata: {}\n")]), []);
});

test("a frame without an end is refused before it fills the memory", () => {
  const parser = new FrameParser();
  const megabyte = Buffer.alloc(1024 * 1024, "x");
  assert.throws(() => {
    for (let sent = 0; sent <= LONGEST_FRAME; sent += megabyte.length) parser.feed(megabyte);
  }, GatewayError);
});

test("a position with a NUL, or none, moves nothing", () => {
  assert.deepEqual(feed([Buffer.from("id: 1\0\ndata: 1\n\nid\ndata: 2\n\n")]), [
    { type: "message", id: null, data: "1" },
    { type: "message", id: null, data: "2" },
  ]);
});
