// Events of the JavaScript CloudEvents SDK, in every mode, become batches; and the document of our
// own events is valid AsyncAPI. `run.py` gives the addresses, and a key of the source `/js`.

"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { test } = require("node:test");
const Ajv = require("ajv");
const addFormats = require("ajv-formats");
const specs = require("@asyncapi/specs");
const { CloudEvent, HTTP, emitterFor, httpTransport, Mode } = require("cloudevents");
const { OpenAI } = require("openai");

const CHAT = "/v1/chat/completions";
const { BASE_URL, BROKER_URL, INTAKE_URL, INTAKE_HOST, KEY, ASYNCAPI } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: "any" });

// Compact JSON with sorted keys.
const canonical = (value) => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.keys(value).sort();
  return `{${fields.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
};

const signed = (mode, subject = "a subject") => {
  const data = {
    requests: [1, 2].map((n) => ({
      custom_id: `line-${n}`,
      method: "POST",
      url: CHAT,
      body: { model: "sim-large", max_tokens: 4, messages: [{ role: "user", content: `ä ${n}` }] },
    })),
    endpoint: CHAT,
    completion_window: "24h",
    metadata: { mode },
  };
  const event = {
    id: crypto.randomUUID(),
    source: "/js",
    type: "dev.batchgateway.batch.requested.v1",
    subject,
    time: new Date().toISOString(),
  };
  const time = `${event.time.slice(0, 19)}Z`;
  const mac = crypto.createHmac("sha256", KEY);
  const fields = [event.id, event.source, event.type, event.subject, time, canonical(data)];
  for (const text of fields) mac.update(`${Buffer.byteLength(text)}:${text}`);
  return new CloudEvent({ ...event, data, gwsignature: mac.digest("hex") });
};

const batchesOf = async (mode) => {
  const found = [];
  for await (const batch of client.batches.list()) {
    if (batch.metadata?.mode === mode) found.push(batch);
  }
  return found;
};

const until = async (holds) => {
  for (;;) {
    const found = await holds();
    if (found) return found;
    await new Promise((resume) => setTimeout(resume, 100));
  }
};

const completed = (mode, count) =>
  until(async () => {
    const found = await batchesOf(mode);
    const done = found.length === count && found.every(({ status }) => status === "completed");
    return done && found;
  });

for (const [mode, value] of [
  ["binary", Mode.BINARY],
  ["structured", Mode.STRUCTURED],
]) {
  test(`an event in ${mode} mode becomes one batch that completes`, async () => {
    const emit = emitterFor(httpTransport(BROKER_URL), { mode: value });
    const event = signed(mode);

    await emit(event);
    await emit(event);

    const [batch] = await completed(mode, 1);
    assert.equal(batch.request_counts.completed, 2);
  });
}

// The HTTP binding wants such characters percent-encoded, as UTF-8. The SDK does not do so: Node
// then sends those of Latin-1 as they are, in the encoding of the body that goes with the headers,
// which intake understands (brokers may not), and refuses all others.
test("a subject of Latin-1 in binary mode is understood although the SDK does not encode it", async () => {
  const { headers, body } = HTTP.binary(signed("latin-1", "Größe"));

  assert.equal(await post(headers, body), 202);

  await completed("latin-1", 1);
});

test("any subject can be sent in structured mode, or percent-encoded in binary mode", async () => {
  const emit = emitterFor(httpTransport(BROKER_URL), { mode: Mode.STRUCTURED });
  const event = signed("any subject", "100 % €uro ☂");
  const { headers, body } = HTTP.binary(signed("any subject", "100 % €uro ☂"));

  await emit(event);
  const answer = await post({ ...headers, "ce-subject": encodeURIComponent("100 % €uro ☂") }, body);

  assert.equal(answer, 202);
  await assert.rejects(async () => post(headers, body), { code: "ERR_INVALID_CHAR" });
  await completed("any subject", 2);
});

test("events in a batch become a batch each", async () => {
  const events = ["batched", "batched", "batched"].map((mode) => signed(mode));

  const answer = await post(
    { "content-type": "application/cloudevents-batch+json" },
    JSON.stringify(events),
  );

  assert.equal(answer, 202);
  await completed("batched", 3);
});

test("a changed event makes no batch: it is delivered again while keys may change, then refused", async () => {
  const event = signed("changed");
  const { headers, body } = HTTP.binary(event.cloneWith({ subject: "another" }));

  const old = HTTP.binary(event.cloneWith({ time: new Date(Date.now() - 3600e3).toISOString() }));

  assert.equal(await post(headers, body), 503);
  assert.equal(await post(old.headers, old.body), 400);
  assert.deepEqual(await batchesOf("changed"), []);
});

test("the document of our events is valid AsyncAPI 3", () => {
  const ajv = new Ajv({ strict: false, validateFormats: true, allErrors: true });
  addFormats(ajv);
  const valid = ajv.compile(specs.schemasWithoutId["3.0.0"]);

  assert.ok(valid(JSON.parse(ASYNCAPI)), JSON.stringify(valid.errors, null, 2));
});

// Straight to intake: brokers take no batches. `fetch` would not let us name the host.
const post = (headers, body) =>
  new Promise((resolve, reject) => {
    const request = require("node:http").request(
      INTAKE_URL,
      { method: "POST", headers: { ...headers, host: INTAKE_HOST } },
      (answer) => answer.resume().on("end", () => resolve(answer.statusCode)),
    );
    request.on("error", reject).end(body);
  });
