// Every page of the console, at both widths, in light and dark: drawn, accessible, and quiet.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  HOOK,
  OPEN,
  client,
  WIDTHS,
  closed,
  configured,
  judged,
  launched,
  opened,
  request,
  requests,
} from "./browser.mjs";

// The elements depend on the width and their colours on the scheme, so axe need not look at all pairs.
const LOOKS = [
  { width: 1280, scheme: "light", axe: true },
  { width: 390, scheme: "dark", axe: true },
  { width: 1280, scheme: "dark", axe: true },
  { width: 390, scheme: "light" },
  { width: 1920, scheme: "light" },
];
const api = client(OPEN);
let browser;
const made = {};

before(async () => {
  browser = await launched();
  const asked = { name: "Pages", url: HOOK, event_types: ["batch.completed"] };
  made.hook = await api.post("webhook_endpoints", asked);
  made.done = await api.submit([...requests(30), request("unknown", "?", { model: "no-such-model" })], {
    metadata: { name: "Nightly summaries" },
  });
  made.failed = await api.submit('{"custom_id": "a"}\nnot json\n', { metadata: { name: "Broken export" } });
  await api.ended(made.done.id);
  await api.ended(made.failed.id);
  await configured({ ttft_ms: 400, slots: 4 });
  made.running = await api.submit(requests(4000), { metadata: { name: "Product descriptions" } });
  await api.until(made.running.id, (one) => one.request_counts.completed > 0);
});

after(async () => {
  await api.post(`batches/${made.running.id}/cancel`);
  await api.delete(`webhook_endpoints/${made.hook.id}`);
  await configured();
  await browser.close();
});

/** Where each page is, and what it shows once it is there. */
const PAGES = {
  batches: ["batches", (page) => page.getByText("Product descriptions")],
  batch: [() => `batches/${made.running.id}`, (page) => page.getByText("Requests per minute")],
  "batch-done": [
    () => `batches/${made.done.id}`,
    (page) => page.getByText(/^\$\d/).first(), // its cost
  ],
  results: [() => `batches/${made.done.id}/results`, (page) => page.getByText("request-0")],
  errors: [() => `batches/${made.done.id}/errors`, (page) => page.getByText("model_not_found").first()],
  "errors-invalid": [() => `batches/${made.failed.id}/errors`, (page) => page.getByLabel("Line 2")],
  events: [() => `batches/${made.done.id}/events`, (page) => page.getByText("Delivered")],
  new: ["new", (page) => page.getByLabel("JSONL file")],
  files: ["files", (page) => page.getByText("requests.jsonl").first()],
  models: ["models", (page) => page.getByText("sim-large").first()],
  webhooks: ["webhooks", (page) => page.getByText("Pages")],
  usage: ["usage", (page) => page.getByRole("columnheader", { name: "Cost" })],
  "not-found": ["no-such-page", (page) => page.getByText("There is no such page")],
  "no-batch": ["batches/batch_none", (page) => page.getByText("No batch found with id")],
};

describe("the API reference", () => {
  for (const width of WIDTHS) {
    test(`shows routes, fields and examples at ${width} pixels, and is linked from the address of up`, async () => {
      const page = await opened(browser, { width });
      await page.goto(OPEN.replace(/\/v1$/, "/"));
      await page.getByRole("link", { name: "API reference" }).click();
      await page.getByText("Create a batch", { exact: true }).click({ timeout: 60_000 });
      await page.getByText("completion_window", { exact: false }).first().waitFor();
      await page.getByText("batch_b9b94f15ed9d3855a62cd249f0223a88", { exact: false }).first().waitFor();
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/docs-${width}.png` });
      await closed(page);
    });
  }
});

describe("all pages are drawn, accessible and as wide as the window", () => {
  for (const look of LOOKS) {
    test(`${look.width} pixels, ${look.scheme}`, async () => {
      const page = await opened(browser, look);
      for (const [name, [hash, there]] of Object.entries(PAGES)) {
        await page.to(typeof hash === "string" ? hash : hash());
        await there(page).waitFor();
        await judged(page, name, { axe: look.axe === true });
        assert.match(await page.title(), /– Batch Gateway$/);
      }
      await closed(page);
    });
  }
});
