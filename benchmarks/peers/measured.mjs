// What the Node peers share: counting in the worker, and the commands of the producer. The twin of measured.py.
// Times are CLOCK_MONOTONIC nanoseconds, which all processes of one machine share.

import net from "node:net";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

export const url = process.env.BENCH_URL ?? "redis://127.0.0.1:6379/0";
export const queueName = "bench";
const AT_ONCE = 50;

/** The number of jobs at once: what the run asks for, else the peer's fastest documented setting. */
export const concurrency = (fastest) => Number(process.env.BENCH_CONCURRENCY || fastest);

const now = () => Number(process.hrtime.bigint());
const makePayload = (n, size = 100) => ({ n, t: 0, text: "x".repeat(Math.max(0, size - 20)) });
const makePayloads = (jobs, size) => Array.from({ length: jobs }, (_, n) => makePayload(n, size));

// ---- the worker's side

let count = newCount(0);
let socket = null;

function newCount(goal) {
  return { goal, hits: 0, first: 0, cpu: null, latencies: [] };
}

/** Counts one run of the job; the last one expected is reported. Cost: an increment and three comparisons. */
export function hit(payload) {
  const number = ++count.hits;
  if (payload.t) count.latencies.push(now() - payload.t);
  if (number === 1) [count.first, count.cpu] = [now(), process.cpuUsage()]; // its start is no cost of its jobs
  if (number === count.goal) reportCount(now());
}

function reportCount(last) {
  const { user, system } = process.cpuUsage(count.cpu);
  say({ first: count.first, last, cpu: (user + system) / 1e6, latencies_ns: count.latencies });
}

const say = (answer) => socket.write(`${JSON.stringify(answer)}\n`);

/**
 * Tells the harness that this worker is ready, and waits for its first `expect`: call it last before the library's
 * worker starts, so that no hit is missed. `stop` leaves gracefully; it may return a promise.
 */
async function attend(stop) {
  socket = net.connect(process.env.BENCH_REPORT);
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  const lines = readline.createInterface({ input: socket });
  lines.on("close", () => process.exit(1)); // the harness is gone: leave nothing behind
  const expected = new Promise((resolve) => {
    lines.on("line", (line) => {
      const command = JSON.parse(line);
      if ("expect" in command) {
        count = newCount(command.expect);
        resolve();
      } else if (command.stop) {
        Promise.resolve(stop()).finally(() => process.exit(0));
      }
    });
  });
  say({ ready: process.pid });
  await expected;
}

// ---- the producer's side

async function oneByOne(add, payloads) {
  for (const payload of payloads) await add(payload);
}

const shared = (payloads) =>
  Array.from({ length: AT_ONCE }, (_, start) => payloads.filter((_, n) => n % AT_ONCE === start));

const atOnce = (add, shares) => Promise.all(shares.map((share) => oneByOne(add, share)));

async function ping(add, jobs, pause) {
  for (let n = 0; n < jobs; n += 1) {
    await add({ ...makePayload(n), t: now() });
    await sleep(pause * 1000);
  }
}

async function timed(way, ...given) {
  const began = now();
  await way(...given);
  return { seconds: (now() - began) / 1e9 };
}

function obey(command, producer) {
  const { jobs } = command;
  switch (command.do) {
    case "add_one":
      return timed(oneByOne, producer.add, makePayloads(jobs));
    case "add_one_sync":
      return { unsupported: "one kind of producer only" };
    case "add_bulk":
      return timed(producer.bulk, makePayloads(jobs));
    case "add_fifty":
      return timed(atOnce, producer.add, shared(makePayloads(jobs)));
    case "fill":
      return timed(producer.bulk, makePayloads(jobs, command.size));
    case "add_delayed":
      return timed(producer.delayed, makePayloads(jobs), command.due_at);
    case "ping":
      return timed(ping, producer.add, jobs, command.pause);
    default:
      throw new Error(`${JSON.stringify(command.do)} is no command of the producer`);
  }
}

async function produce(producer) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line), producer))}\n`);
  }
  await producer.close();
}

/**
 * Is what the command line says: `worker async` or `produce`.
 *
 * `work()` starts the library's worker and resolves to what its close() ends. `makeProducer()` resolves to
 * add(payload), bulk(payloads), delayed(payloads, dueAt) with dueAt in Unix seconds, and close().
 */
export async function main(work, makeProducer) {
  const [role, flavour] = process.argv.slice(2);
  if (role === "produce") {
    await produce(await makeProducer());
  } else if (role === "worker" && flavour === "async") {
    let worker = null;
    await attend(() => worker?.close());
    worker = await work();
  } else {
    console.error(`usage: peer.mjs produce, or peer.mjs worker async; got ${process.argv.slice(2)}`);
    process.exit(2);
  }
}
