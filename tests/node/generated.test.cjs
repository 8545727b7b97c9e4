// A TypeScript client whose types openapi-typescript makes of the running service's own document.
//
// The program below is compiled strictly against these types and then run: it fails to compile when
// a path, a field or a state is not in the document, and to run when the document is not true.

"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");
const { default: openapiTS, astToString } = require("openapi-typescript");

const SERVICE = process.env.BASE_URL.replace(/\/v1$/, "");
const PROGRAM = `
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./gateway";

type Batch = components["schemas"]["Batch"];
type Created = operations["createBatch"]["responses"]["200"]["content"]["application/json"];

const ENDED: Batch["status"][] = ["completed", "failed", "expired", "cancelled"];

export async function run(baseUrl: string): Promise<Batch> {
  const client = createClient<paths>({ baseUrl });
  const line = {
    custom_id: "one",
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "sim-large", messages: [{ role: "user", content: "Hello" }] },
  };
  const { data, error } = await client.POST("/v1/batches", {
    body: {
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
      requests: [line],
    },
  });
  if (!data) throw new Error(error.error.message);
  let batch: Created = data;
  while (!ENDED.includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const found = await client.GET("/v1/batches/{batch_id}", {
      params: { path: { batch_id: batch.id } },
    });
    if (!found.data) throw new Error(found.error.error.message);
    batch = found.data;
  }
  return batch;
}

export async function refused(baseUrl: string): Promise<string | null> {
  const client = createClient<paths>({ baseUrl });
  const { error } = await client.GET("/v1/batches", { params: { query: { limit: 101 } } });
  return error ? error.error.code : null;
}
`;

test("types of the document compile, and what they say happens", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "generated-"));
  fs.symlinkSync(path.resolve(process.env.NODE_PATH), path.join(folder, "node_modules"));
  const document = await (await fetch(`${SERVICE}/openapi.json`)).json();
  fs.writeFileSync(path.join(folder, "gateway.ts"), astToString(await openapiTS(document)));
  fs.writeFileSync(path.join(folder, "program.ts"), PROGRAM);
  const compiler = require.resolve("typescript/lib/tsc.js");
  const options = ["--strict", "--target", "es2022", "--module", "node16", "--lib", "es2022,dom,dom.iterable"];
  execFileSync(process.execPath, [compiler, ...options, "program.ts"], {
    cwd: folder,
    stdio: "inherit",
  });

  const { run, refused } = require(path.join(folder, "program.js"));
  const batch = await run(SERVICE);

  assert.equal(batch.status, "completed");
  assert.deepEqual(batch.request_counts, { total: 1, completed: 1, failed: 0 });
  assert.equal(await refused(SERVICE), "integer_above_max_value");
});
