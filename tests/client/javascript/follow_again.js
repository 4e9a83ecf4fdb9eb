/** Follows a closed session from its first event for each line of the standard input, and prints what it got. */

import { createInterface } from "node:readline";
import { Gateway } from "../../../clients/typescript/node.js";

const [key, session, via, url] = process.argv.slice(2);
const timeouts = { firstPauseMs: 0.1, longestPauseMs: 10, resumeMs: 60_000 };
const followed = await new Gateway(url, key, { timeouts }).sessions.get(session);
for await (const line of createInterface({ input: process.stdin })) {
  const events = [];
  for await (const event of followed.events({ via })) events.push(event);
  console.log(JSON.stringify({ line, events }));
}
