// The official JavaScript SDK over every call that it has; run by test_javascript_sdk.py, which
// gives the server's address and a destination that answers 404 to /fail and 200 to all else.

import assert from "node:assert/strict";
import { Client, Receiver } from "@upstash/qstash";

const { QSTASH_URL, QSTASH_TOKEN, QSTASH_CURRENT_SIGNING_KEY, QSTASH_NEXT_SIGNING_KEY, DESTINATION } = process.env;
const client = new Client({ baseUrl: QSTASH_URL, token: QSTASH_TOKEN, retry: false });
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(what, question) {
  for (let tries = 0; tries < 100; tries++) {
    const answer = await question();
    if (answer) return answer;
    await sleep(50);
  }
  throw new Error(`It did not come to be: ${what}`);
}

const stories = {
  async "publish, read, cancel"() {
    const sent = await client.publish({
      url: `${DESTINATION}/later?x=1&y=2`, body: "hi", method: "PUT", delay: 60, retries: 2, timeout: 30,
      headers: { "x-mine": "1", "Content-Type": "text/plain" }, label: ["a", "b"], retryDelay: "1000 * (1 + retried)",
      callback: "http://cb.dev", failureCallback: "http://fcb.dev",
      flowControl: { key: "js", rate: 4, parallelism: 3, period: "1m" },
    });
    assert.equal(sent.url, `${DESTINATION}/later?x=1&y=2`);
    const message = await client.messages.get(sent.messageId);
    assert.deepEqual(message.header, { "Content-Type": ["text/plain"], "X-Mine": ["1"] });
    assert.equal(message.url, `${DESTINATION}/later?x=1&y=2`);
    assert.deepEqual([message.method, message.body, message.maxRetries], ["PUT", "hi", 2]);
    assert.deepEqual([message.label, message.labels], ["a", ["a", "b"]]);
    assert.deepEqual([message.flowControlKey, message.rate, message.parallelism, message.period], ["js", 4, 3, 60]);
    assert.equal(message.retryDelayExpression, "1000 * (1 + retried)");
    assert.equal(message.notBefore - message.createdAt, 60_000);
    assert.deepEqual(await client.messages.cancel(sent.messageId), { cancelled: 1 });
    await assert.rejects(client.messages.cancel(sent.messageId), { status: 404 });
    await client.messages.delete((await client.publish({ url: DESTINATION, delay: 60 })).messageId);
  },

  async "JSON, not before, redaction, deduplication"() {
    const sent = await client.publishJSON({
      url: DESTINATION, body: { n: 1 }, notBefore: Math.floor(Date.now() / 1000) + 60,
      deduplicationId: "js-id", redact: { body: true, header: ["X-Secret"] }, headers: { "X-Secret": "s" },
    });
    const message = await client.messages.get(sent.messageId);
    assert.match(message.body, /^REDACTED:[0-9a-f]{64}$/);
    assert.match(message.header["X-Secret"][0], /^REDACTED:/);
    const again = await client.publishJSON({ url: DESTINATION, body: { n: 1 }, deduplicationId: "js-id" });
    assert.deepEqual(again, { messageId: sent.messageId, url: DESTINATION, deduplicated: true });
    await client.publishJSON({ url: DESTINATION, body: { c: 1 }, contentBasedDeduplication: true });
    const same = await client.publishJSON({ url: DESTINATION, body: { c: 1 }, contentBasedDeduplication: true });
    assert.equal(same.deduplicated, true);
  },

  async "batch"() {
    await client.urlGroups.addEndpoints({ name: "js-batch", endpoints: [{ url: `${DESTINATION}/1` }, { url: `${DESTINATION}/2` }] });
    const sent = await client.batchJSON([
      { url: `${DESTINATION}/b`, body: { n: 1 }, delay: 5, label: "x" },
      { urlGroup: "js-batch", body: { n: 2 } },
      { url: `${DESTINATION}/q`, queueName: "js-batch-queue", body: { n: 3 } },
    ]);
    assert.equal(sent.length, 3);
    assert.ok(sent[0].messageId.startsWith("msg_"));
    assert.equal(sent[1].length, 2);
    assert.equal((await client.batch([{ url: DESTINATION, body: "raw" }])).length, 1);
    await client.urlGroups.delete("js-batch");
  },

  async "bulk cancel"() {
    const ids = [];
    for (let n = 0; n < 4; n++) ids.push((await client.publish({ url: `${DESTINATION}/bulk/${n}`, delay: 60, label: `bulk${n % 2}` })).messageId);
    assert.deepEqual(await client.messages.cancel([ids[0]]), { cancelled: 1 });
    assert.deepEqual(await client.messages.cancel({ filter: { label: "bulk1", host: new URL(DESTINATION).host } }), { cancelled: 2 });
    assert.deepEqual(await client.messages.cancel({ filter: { url: [`${DESTINATION}/bulk/2`, "http://x.dev"], fromDate: new Date(0) } }), { cancelled: 1 });
    assert.ok((await client.messages.cancel({ all: true })).cancelled >= 0);
    assert.equal(await client.messages.deleteAll(), 0);
  },

  async "queues"() {
    const queue = client.queue({ queueName: "js-queue" });
    await queue.upsert({ parallelism: 2, paused: true });
    await queue.enqueue({ url: `${DESTINATION}/held`, body: "1" });
    await queue.enqueueJSON({ url: `${DESTINATION}/held`, body: { n: 2 } });
    const shown = await queue.get();
    assert.deepEqual([shown.name, shown.parallelism, shown.paused, shown.lag], ["js-queue", 2, true, 2]);
    await queue.resume();
    await until("the queue is empty", async () => (await queue.get()).lag === 0);
    await queue.pause();
    assert.equal((await queue.get()).paused, true);
    assert.ok((await queue.list()).some((one) => one.name === "js-queue"));
    await queue.delete();
    await assert.rejects(queue.get(), { status: 404 });
  },

  async "URL groups"() {
    const endpoints = [{ name: "one", url: `${DESTINATION}/g1` }, { name: "two", url: `${DESTINATION}/g2` }];
    await client.urlGroups.addEndpoints({ name: "js-group", endpoints });
    assert.deepEqual((await client.urlGroups.get("js-group")).endpoints, endpoints);
    const sent = await client.publishJSON({ urlGroup: "js-group", body: {} });
    assert.deepEqual(sent.map((one) => one.url), endpoints.map((one) => one.url));
    await client.urlGroups.removeEndpoints({ name: "js-group", endpoints: [{ name: "two" }] });
    assert.equal((await client.urlGroups.list()).find((one) => one.name === "js-group").endpoints.length, 1);
    await client.urlGroups.delete("js-group");
    await client.urlGroups.delete("js-group");
  },

  async "schedules"() {
    const { scheduleId } = await client.schedules.create({
      destination: `${DESTINATION}/tick`, cron: "CRON_TZ=America/New_York 0 0 1 1 *", body: "x", scheduleId: "js-schedule",
      delay: 30, timeout: 60, retries: 5, queueName: "js-scheduled", headers: { "X-Mine": "1" }, label: "s",
      flowControl: { key: "js-schedule", parallelism: 1 },
    });
    assert.equal(scheduleId, "js-schedule");
    const shown = await client.schedules.get(scheduleId);
    assert.deepEqual([shown.delay, shown.timeout, shown.retries, shown.queueName, shown.label], [30, 60, 5, "js-scheduled", "s"]);
    assert.deepEqual([shown.cron, shown.isPaused, shown.flowControlKey], ["CRON_TZ=America/New_York 0 0 1 1 *", false, "js-schedule"]);
    await client.schedules.pause({ schedule: scheduleId });
    assert.equal((await client.schedules.get(scheduleId)).isPaused, true);
    await client.schedules.resume({ schedule: scheduleId });
    await client.schedules.create({ destination: `${DESTINATION}/tick`, cron: "1 1 1 1 1", scheduleId });
    const replaced = await client.schedules.get(scheduleId);
    assert.deepEqual([replaced.body, replaced.delay, replaced.cron], [undefined, undefined, "1 1 1 1 1"]);
    assert.equal((await client.schedules.list()).length, 1);
    await client.schedules.delete(scheduleId);
    assert.equal((await client.schedules.list()).length, 0);
    await assert.rejects(client.schedules.create({ destination: DESTINATION, cron: "nonsense" }), { status: 400 });
  },

  async "dead letters"() {
    const fail = (label) => client.publishJSON({ url: `${DESTINATION}/fail`, body: { label }, retries: 0, label, failureCallback: `${DESTINATION}/told` });
    for (const label of ["d1", "d2", "d3", "d4", "d5"]) await fail(label);
    const all = await until("five dead letters", async () => {
      const { messages } = await client.dlq.listMessages({ filter: { url: `${DESTINATION}/fail` } });
      // They fail at the same time, in any order.
      return messages.length === 5 && messages.sort((one, other) => one.label.localeCompare(other.label));
    });
    assert.deepEqual([all[0].responseStatus, all[0].responseBody], [404, "not here"]);
    const page = await client.dlq.listMessages({ count: 2, filter: { label: ["d1", "d2", "d3"] } });
    assert.equal(page.messages.length, 2);
    assert.equal((await client.dlq.listMessages({ count: 2, cursor: page.cursor, filter: { label: ["d1", "d2", "d3"] } })).messages.length, 1);
    assert.equal((await client.dlq.listMessages({ dlqIds: [all[0].dlqId] })).messages.length, 1);
    assert.deepEqual(await client.dlq.delete(all[0].dlqId), { deleted: 1 });
    assert.deepEqual(await client.dlq.delete([all[1].dlqId, all[0].dlqId]), { deleted: 1 });
    assert.equal((await client.dlq.retry(all[2].dlqId)).responses.length, 1);
    const retried = await client.dlq.retry({ filter: { label: "d4" } });
    assert.deepEqual([retried.responses.length, retried.cursor], [1, undefined]);
    await until("they failed again", async () => (await client.dlq.listMessages()).messages.length === 3);
    let cursor;
    do {
      const result = await client.dlq.delete({ all: true, count: 1, cursor });
      cursor = result.cursor;
    } while (cursor);
    assert.equal((await client.dlq.listMessages()).messages.length, 0);
  },

  async "the log"() {
    const sent = await client.publish({ url: `${DESTINATION}/logged`, body: "x", label: "logged" });
    await until("it is delivered", async () => (await client.logs({ filter: { messageId: sent.messageId, state: "DELIVERED" } })).logs.length === 1);
    const { logs } = await client.logs({ filter: { label: "logged" } });
    assert.deepEqual(logs.map((one) => one.state), ["DELIVERED", "ACTIVE", "CREATED"]);
    const page = await client.logs({ count: 1, cursor: Date.now() });
    assert.equal((await client.events({ count: 1, cursor: page.cursor })).events.length, 1);
  },

  async "flow control"() {
    await client.publish({ url: DESTINATION, flowControl: { key: "js-flow", rate: 5, period: 10 } });
    assert.equal((await client.flowControl.get("js-flow")).rateMax, 5);
    await client.flowControl.pause("js-flow");
    assert.equal((await client.flowControl.get("js-flow")).isPaused, true);
    await client.flowControl.resume("js-flow");
    await client.flowControl.pin("js-flow", { parallelism: 3, rate: 20, period: 120 });
    const key = await client.flowControl.get("js-flow");
    assert.deepEqual([key.parallelismMax, key.rateMax, key.ratePeriod, key.isPinnedRate], [3, 20, 120, true]);
    await client.flowControl.unpin("js-flow", { parallelism: true, rate: true });
    await client.flowControl.resetRate("js-flow");
    assert.equal((await client.flowControl.get("js-flow")).rateCount, 0);
    assert.equal((await client.flowControl.getGlobalParallelism()).parallelismMax, 20);
  },

  async "the receiver believes what was signed"() {
    const { signature, body, url } = JSON.parse(process.env.DELIVERY);
    const receiver = new Receiver({ currentSigningKey: QSTASH_CURRENT_SIGNING_KEY, nextSigningKey: QSTASH_NEXT_SIGNING_KEY });
    assert.equal(await receiver.verify({ signature, body, url }), true);
    await assert.rejects(receiver.verify({ signature, body: body + " ", url }));
  },

  async "a wrong token is 401"() {
    const stranger = new Client({ baseUrl: QSTASH_URL, token: "wrong", retry: false });
    await assert.rejects(stranger.publish({ url: DESTINATION }), { status: 401 });
  },

  // The last one: its environment variables win over every client's own options.
  async "its development mode takes the server for its own"() {
    process.env.QSTASH_DEV = "true";
    process.env.QSTASH_DEV_PORT = new URL(QSTASH_URL).port;
    const development = new Client();
    const sent = await development.publishJSON({ url: `${DESTINATION}/dev`, body: {} });
    assert.ok(sent.messageId);
  },
};

for (const [name, story] of Object.entries(stories)) {
  try {
    await story();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}\n${error.stack}`);
    process.exitCode = 1;
  }
}
