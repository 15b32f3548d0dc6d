// Bee-Queue on Node: a worker in one process, jobs added by save and saveAll.

import Queue from "bee-queue";

import { concurrency, hit, main, queueName, url } from "../measured.mjs";

const minimal = { redis: { url }, getEvents: false, sendEvents: false, storeJobs: false };
const BULK = 1000; // jobs a call of saveAll, which is one pipeline

async function work() {
  const queue = new Queue(queueName, { ...minimal, removeOnSuccess: true, activateDelayedJobs: true });
  queue.on("error", (error) => console.error(error));
  await queue.ready();
  queue.process(concurrency(50), async (job) => hit(job.data));
  return queue;
}

async function makeProducer() {
  const queue = new Queue(queueName, { ...minimal, isWorker: false });
  await queue.ready();
  const saveAll = async (jobs) => {
    for (let from = 0; from < jobs.length; from += BULK) {
      const errors = await queue.saveAll(jobs.slice(from, from + BULK));
      for (const error of errors.values()) throw error;
    }
  };
  return {
    add: (data) => queue.createJob(data).save(),
    bulk: (payloads) => saveAll(payloads.map((data) => queue.createJob(data))),
    delayed: (payloads, dueAt) => saveAll(payloads.map((data) => queue.createJob(data).delayUntil(dueAt * 1000))),
    close: () => queue.close(),
  };
}

await main(work, makeProducer);
