// BullMQ on Node: a worker in one process, jobs added by add and addBulk.

import { Queue, Worker } from "bullmq";

import { concurrency, hit, main, queueName, url } from "../measured.mjs";

const connection = { url };
const BULK = 1000; // jobs a call of addBulk, which is one pipeline

async function work() {
  const options = { connection, concurrency: concurrency(100) };
  const worker = new Worker(queueName, async (job) => hit(job.data), options);
  worker.on("error", (error) => console.error(error));
  return worker;
}

async function makeProducer() {
  const queue = new Queue(queueName, { connection });
  await queue.waitUntilReady();
  const addAll = async (payloads, opts) => {
    for (let from = 0; from < payloads.length; from += BULK) {
      await queue.addBulk(payloads.slice(from, from + BULK).map((data) => ({ name: "noop", data, opts })));
    }
  };
  const delayed = (payloads, dueAt) => {
    const timestamp = Date.now();
    return addAll(payloads, { timestamp, delay: Math.max(0, Math.round(dueAt * 1000) - timestamp) });
  };
  return { add: (data) => queue.add("noop", data), bulk: addAll, delayed, close: () => queue.close() };
}

await main(work, makeProducer);
