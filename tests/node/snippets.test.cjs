// The JavaScript snippets of the README and of docs/extensions.md do what they say.

"use strict";

const assert = require("node:assert/strict");
const { execFile } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");
const { promisify } = require("node:util");

const ROOT = path.resolve(__dirname, "..", "..");
const HERE = "http://127.0.0.1:8080/v1";

const snippets = (page, kind) => {
  const text = fs.readFileSync(path.join(ROOT, page), "utf8");
  return [...text.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, "gms"))].map((m) => m[1]);
};

// Runs the script in a folder that has the README's request line as requests.jsonl.
const run = async (script) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "snippets-"));
  fs.symlinkSync(path.resolve(process.env.NODE_PATH), path.join(folder, "node_modules"));
  fs.writeFileSync(path.join(folder, "requests.jsonl"), snippets("README.md", "json")[0]);
  const file = path.join(folder, "snippet.mjs");
  fs.writeFileSync(file, script.replaceAll(HERE, process.env.BASE_URL));
  return (await promisify(execFile)(process.execPath, [file], { cwd: folder })).stdout;
};

test("the README's snippet creates a batch", async () => {
  const [script] = snippets("README.md", "js");

  assert.match(await run(script), /^batch_[0-9a-f]{32}\n$/);
});

test("each extension works", async () => {
  const ended = `
const ended = async (batch) => {
  while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  return batch;
};`;
  const parts = snippets("docs/extensions.md", "js");
  // The page's reader waits, as its Python does, where an ended batch is needed.
  const script = parts
    .map((part) => part.replace(/^(const (?:again|removed) = .*)$/m, (line) => {
      const name = line.includes("careful") ? "careful" : "dry";
      return `await ended(${name});\n${line}`;
    }))
    .join("\n")
    .replace("const terms", `${ended}\nconst terms`);
  const checks = `
const shown = {
  found: found.status, again: again.retry_of === careful.id, after: after.after === batch.id,
  paused: paused.paused, resumed: resumed.paused, priority: updated.priority,
  window: updated.completion_window, listed: completed.object, removed: removed.deleted,
};
console.log("CHECKED " + JSON.stringify(shown));`;

  const shown = await run(script + checks);
  const lines = shown.split("\n");

  assert.equal(lines.filter((line) => line.includes("custom_id: 'line-")).length, 3);
  assert.deepEqual(JSON.parse(lines.find((l) => l.startsWith("CHECKED ")).slice(8)), {
    found: "completed", again: true, after: true, paused: true, resumed: false, priority: 1,
    window: "7d", listed: "list", removed: true,
  });
});
