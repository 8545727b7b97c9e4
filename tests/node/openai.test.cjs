// OpenAI's Node client against the running service: the cases that matter most.
//
// `run.py` starts the platform and gives its address. The tests share it, and run side by side.

"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { describe, test } = require("node:test");
const { OpenAI, toFile } = require("openai");

const CHAT = "/v1/chat/completions";
const TERMINAL = ["completed", "failed", "expired", "cancelled"];
const NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "any" });

const line = (n, changes = {}) => ({
  custom_id: `line-${n}`,
  method: "POST",
  url: CHAT,
  body: { model: "sim-large", max_tokens: 4, messages: [{ role: "user", content: `Hello ${n}` }] },
  ...changes,
});
const jsonl = (lines) => lines.map((each) => JSON.stringify(each) + "\n").join("");

const upload = async (content = jsonl([line(1)]), name = "in.jsonl", purpose = "batch") =>
  client.files.create({ file: await toFile(Buffer.from(content), name), purpose });

const create = async (lines, terms = {}) =>
  client.batches.create({
    input_file_id: (await upload(jsonl(lines))).id,
    endpoint: CHAT,
    completion_window: "24h",
    ...terms,
  });

const until = async (batch, holds) => {
  while (!holds(batch)) {
    await new Promise((resume) => setTimeout(resume, 50));
    batch = await client.batches.retrieve(batch.id);
  }
  return batch;
};
const ended = (batch) => until(batch, ({ status }) => TERMINAL.includes(status));

const results = async (fileId) => {
  const text = await (await client.files.content(fileId)).text();
  return text.trimEnd().split("\n").map((each) => JSON.parse(each));
};

const refused = async (promise, kind) => {
  const error = await promise.then(
    () => assert.fail("it was not refused"),
    (found) => found,
  );
  assert.ok(error instanceof kind, `${error}`);
  return error;
};

describe("files", { concurrency: true }, () => {
  test("a batch file is processed at once and kept for 30 days", async () => {
    const file = await upload();
    assert.equal(file.status, "processed");
    assert.equal(file.expires_at, file.created_at + 30 * 86400);
  });

  test("a lifetime of one's own is kept", async () => {
    const file = await client.files.create({
      file: await toFile(Buffer.from(jsonl([line(1)])), "in.jsonl"),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 3600 },
    });
    assert.equal(file.expires_at, file.created_at + 3600);
  });

  test("a stream from disk is uploaded with its name", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "node-suite-"));
    const name = path.join(folder, "stream.jsonl");
    fs.writeFileSync(name, jsonl([line(1)]));
    const file = await client.files.create({ file: fs.createReadStream(name), purpose: "batch" });
    fs.rmSync(folder, { recursive: true });
    assert.equal(file.filename, "stream.jsonl");
  });

  test("content comes back byte for byte", async () => {
    const content = jsonl([line(1), line(2, { custom_id: "größe \u2028" })]);
    const file = await upload(content);
    const answer = await client.files.content(file.id);
    assert.equal(answer.headers.get("content-type"), "application/octet-stream");
    assert.equal(Buffer.from(await answer.arrayBuffer()).toString(), content);
  });

  test("content streams", async () => {
    const content = jsonl(Array.from({ length: 5000 }, (_, n) => line(n)));
    const file = await upload(content);
    let received = 0;
    for await (const chunk of (await client.files.content(file.id)).body) received += chunk.length;
    assert.equal(received, Buffer.byteLength(content));
  });

  test("a download goes on where it broke off", async () => {
    const file = await upload(jsonl([line(1)]));
    const part = await client.files.content(file.id, { headers: { Range: "bytes=0-9" } });
    assert.equal(part.status, 206);
    assert.equal(await part.text(), jsonl([line(1)]).slice(0, 10));
  });

  test("a batch file that is not named .jsonl is refused", async () => {
    const error = await refused(upload("{}", "in.json"), OpenAI.BadRequestError);
    assert.equal(error.error.message, NOT_JSONL);
  });

  test("an unknown purpose is refused", async () => {
    const error = await refused(upload("x", "x.txt", "foo"), OpenAI.BadRequestError);
    assert.equal(error.param, "purpose");
  });

  test("an unknown file is 404", async () => {
    const error = await refused(client.files.retrieve("file-none"), OpenAI.NotFoundError);
    assert.equal(error.error.message, "No such File object: file-none");
    assert.equal(error.param, "id");
  });

  test("a deleted file is gone", async () => {
    const file = await upload();
    assert.deepEqual(await client.files.delete(file.id), {
      id: file.id,
      object: "file",
      deleted: true,
    });
    await refused(client.files.retrieve(file.id), OpenAI.NotFoundError);
  });

  test("paging visits each file once", async () => {
    const made = [];
    for (let n = 0; n < 5; n += 1) made.push((await upload("x", `${n}.txt`, "evals")).id);
    const visited = [];
    for await (const file of client.files.list({ purpose: "evals", limit: 2, order: "asc" }))
      visited.push(file.id);
    assert.deepEqual(visited, made);
  });

  test("waiting for a file ends at once", async () => {
    const file = await upload();
    assert.equal((await client.files.waitForProcessing(file.id)).id, file.id);
  });
});

describe("uploads", { concurrency: true }, () => {
  const begin = (size) =>
    client.uploads.create({
      bytes: size,
      filename: "in.jsonl",
      mime_type: "application/jsonl",
      purpose: "batch",
    });
  const add = async (id, content) =>
    (await client.uploads.parts.create(id, { data: await toFile(Buffer.from(content), "data") })).id;

  test("parts are joined in the order of their ids", async () => {
    const content = jsonl([line(1), line(2)]);
    const pieces = [content.slice(0, 50), content.slice(50)];
    const { id } = await begin(content.length);
    const [second, first] = await Promise.all([add(id, pieces[1]), add(id, pieces[0])]);
    const md5 = crypto.createHash("md5").update(content).digest("hex");
    const done = await client.uploads.complete(id, { part_ids: [first, second], md5 });
    assert.equal(done.status, "completed");
    assert.equal(await (await client.files.content(done.file.id)).text(), content);
  });

  test("parts must have the announced bytes", async () => {
    const { id } = await begin(10);
    const part = await add(id, "{}");
    const error = await refused(
      client.uploads.complete(id, { part_ids: [part] }),
      OpenAI.BadRequestError,
    );
    assert.equal(error.param, "part_ids");
  });

  test("nothing is added to a cancelled upload", async () => {
    const { id } = await begin(10);
    assert.equal((await client.uploads.cancel(id)).status, "cancelled");
    await refused(add(id, "x"), OpenAI.BadRequestError);
  });
});

describe("batches", { concurrency: true }, () => {
  test("a new batch is validating and expires after 24 hours", async () => {
    const batch = await create([line(1)], { metadata: { job: "nightly" } });
    assert.equal(batch.status, "validating");
    assert.equal(batch.expires_at, batch.created_at + 86400);
    assert.deepEqual(batch.metadata, { job: "nightly" });
    assert.deepEqual(batch.request_counts, { total: 0, completed: 0, failed: 0 });
  });

  test("a batch runs to its end and keeps the input order", async () => {
    const batch = await ended(await create(Array.from({ length: 40 }, (_, n) => line(n))));
    assert.equal(batch.status, "completed");
    assert.equal(batch.error_file_id, null);
    assert.equal(batch.usage.total_tokens, batch.usage.input_tokens + batch.usage.output_tokens);
    const output = await results(batch.output_file_id);
    assert.deepEqual(
      output.map((each) => each.custom_id),
      Array.from({ length: 40 }, (_, n) => `line-${n}`),
    );
    assert.ok(output.every((each) => each.response.status_code === 200 && each.error === null));
    const file = await client.files.retrieve(batch.output_file_id);
    assert.equal(file.purpose, "batch_output");
  });

  test("bad requests go to the error file", async () => {
    const bad = line(2, { body: { ...line(2).body, model: "nobody" } });
    const batch = await ended(await create([line(1), bad]));
    assert.deepEqual(batch.request_counts, { total: 2, completed: 1, failed: 1 });
    const [failed] = await results(batch.error_file_id);
    assert.equal(failed.custom_id, "line-2");
    assert.equal(failed.response.status_code, 404);
  });

  test("a bad line fails the batch with its number and code", async () => {
    const batch = await ended(await create([line(1), { custom_id: "x" }]));
    assert.equal(batch.status, "failed");
    const [{ code, param, line: number }] = batch.errors.data;
    assert.deepEqual([code, param, number], ["missing_required_parameter", "method", 2]);
  });

  test("an unknown input file fails the batch", async () => {
    const batch = await ended(
      await client.batches.create({
        input_file_id: "file-none",
        endpoint: CHAT,
        completion_window: "24h",
      }),
    );
    assert.equal(batch.errors.data[0].param, "file_id");
  });

  test("an unknown endpoint is refused", async () => {
    const error = await refused(create([line(1)], { endpoint: "/v1/x" }), OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.code], ["endpoint", "invalid_value"]);
  });

  test("metadata are strings", async () => {
    const error = await refused(
      create([line(1)], { metadata: { tags: ["a"] } }),
      OpenAI.BadRequestError,
    );
    assert.deepEqual([error.param, error.code], ["metadata.tags", "invalid_type"]);
  });

  test("an unknown field is refused", async () => {
    const error = await refused(create([line(1)], { windw: "1h" }), OpenAI.BadRequestError);
    assert.equal(error.error.message, "Unrecognized request argument supplied: windw");
  });

  test("a cancelled batch keeps what is done", async () => {
    const waits = { model: "sim-large", max_tokens: 2000, messages: line(1).body.messages };
    const lines = Array.from({ length: 200 }, (_, n) => line(n, { body: waits }));
    const running = await until(await create(lines), ({ status }) => status === "in_progress");
    assert.equal((await client.batches.cancel(running.id)).status, "cancelling");
    const batch = await ended(running);
    assert.equal(batch.status, "cancelled");
    const failed = await results(batch.error_file_id);
    assert.ok(failed.every((each) => each.error.code === "batch_cancelled"));
    assert.equal(failed.length + batch.request_counts.completed, 200);
    assert.equal((await client.batches.cancel(batch.id)).status, "cancelled");
  });

  test("a batch that has ended cannot be cancelled, and the client does not ask again", async () => {
    const batch = await ended(await create([line(1)]));
    let asked = 0;
    const counting = client.withOptions({
      fetch: (url, init) => {
        asked += 1;
        return fetch(url, init);
      },
    });
    const error = await refused(counting.batches.cancel(batch.id), OpenAI.ConflictError);
    assert.equal(error.error.message, "Cannot cancel a batch with status 'completed'.");
    assert.equal(asked, 1);
  });

  test("paging visits each batch once, newest first", async () => {
    const made = [];
    for (let n = 0; n < 5; n += 1) made.push((await create([line(1)])).id);
    const visited = [];
    for await (const batch of client.batches.list({ limit: 2 })) visited.push(batch.id);
    assert.deepEqual(
      visited.filter((id) => made.includes(id)),
      made.toReversed(),
    );
    assert.equal(new Set(visited).size, visited.length);
  });

  test("a page has up to 100 batches", async () => {
    const error = await refused(client.batches.list({ limit: 101 }), OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.code], ["limit", "integer_above_max_value"]);
  });

  test("an unknown batch is 404", async () => {
    const error = await refused(client.batches.retrieve("batch_none"), OpenAI.NotFoundError);
    assert.equal(error.error.message, "No batch found with id 'batch_none'.");
  });

  test("extensions are ordinary fields", async () => {
    const batch = await client.batches.create({
      requests: [line(1), line(2)],
      endpoint: CHAT,
      completion_window: "15m",
      priority: 0,
    });
    assert.equal((await ended(batch)).request_counts.completed, 2);
  });

  test("an idempotency key is honoured", async () => {
    const terms = { input_file_id: "file-none", endpoint: CHAT, completion_window: "24h" };
    const key = { headers: { "Idempotency-Key": crypto.randomUUID() } };
    const [first, second] = [
      await client.batches.create(terms, key),
      await client.batches.create(terms, key),
    ];
    assert.equal(first.id, second.id);
  });
});

describe("every call", { concurrency: true }, () => {
  test("models are listed and found", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ["sim-large", "sim-small"]);
    assert.equal((await client.models.retrieve("sim-small")).object, "model");
  });

  test("an unknown model is 404", async () => {
    const error = await refused(client.models.retrieve("a/b"), OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
  });

  test("answers and errors have a request id", async () => {
    const { data, request_id: id } = await client.batches.list().withResponse();
    assert.ok(Array.isArray(data.data));
    assert.match(id, /^req_/);
    const error = await refused(client.batches.retrieve("batch_none"), OpenAI.NotFoundError);
    assert.match(error.requestID, /^req_/);
  });

  test("what there is not is an error in OpenAI's form", async () => {
    const error = await refused(client.get("/nothing"), OpenAI.NotFoundError);
    assert.equal(error.type, "invalid_request_error");
  });
});
