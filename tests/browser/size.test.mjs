// Long batches and many batches: the page holds what is in sight, and stays quick.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { OPEN, client, closed, configured, launched, opened, requests } from "./browser.mjs";

let browser;

before(async () => (browser = await launched()));
after(() => browser.close());

/** The longest time in which the page did not react, in milliseconds. */
async function stalls(page) {
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) =>
      list.getEntries().forEach((one) => (window.longest = Math.max(window.longest, one.duration))),
    ).observe({ type: "longtask", buffered: true });
  });
  return () => page.evaluate(() => window.longest);
}

test("50,000 results are searched and scrolled, with some dozen rows in the page", async () => {
  const page = await opened(browser);
  const total = 50_000;
  const line = (n) =>
    JSON.stringify({
      id: `r${n}`,
      custom_id: `request-${n}`,
      response: {
        status_code: 200,
        request_id: "",
        body: {
          choices: [{ message: { role: "assistant", content: `Answer ${n} ${"lorem ipsum ".repeat(20)}` } }],
        },
      },
      error: null,
    });
  const batch = { ...(await made()), request_counts: { total, completed: total, failed: 0 } };
  await page.route(`**/v1/batches/${batch.id}`, (route) => route.fulfill({ json: batch }));
  await page.route(`**/v1/batches/${batch.id}/results?*`, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const from = Number(query.get("after") ?? 0);
    const to = Math.min(total, from + Number(query.get("limit")));
    const body = Array.from({ length: to - from }, (_, n) => `${line(from + n)}\n`).join("");
    return route.fulfill({
      body,
      headers: { "x-next-cursor": String(to), "x-has-more": String(to < total) },
    });
  });
  await page.to(`batches/${batch.id}/results`);
  const longest = await stalls(page);
  await page.getByText("50,000 of 50,000").waitFor({ timeout: 60_000 });
  await page.locator(".long").evaluate((node) => (node.scrollTop = node.scrollHeight));
  await page.getByText("request-49999").waitFor();
  assert.ok((await page.locator(".long-row").count()) < 60);
  await page.getByLabel("Search in ids and answers").fill("request-31415");
  await page.getByText("1 of 50,000").waitFor();
  await page.getByText("request-31415").click();
  await page.getByRole("dialog").waitFor();
  assert.ok((await longest()) < 2000, `${await longest()} ms without a reaction`);
  await closed(page);
});

async function made() {
  const api = client(OPEN);
  return api.ended((await api.submit(requests(1))).id);
}

test("10,000 batches are listed page by page", async () => {
  const page = await opened(browser);
  const one = await made();
  const all = Array.from({ length: 10_000 }, (_, n) => ({
    ...one,
    id: `batch_${String(n).padStart(5, "0")}`,
  }));
  await page.route("**/v1/batches?*", (route) => {
    const query = new URL(route.request().url()).searchParams;
    const from = query.has("after") ? all.findIndex((each) => each.id === query.get("after")) + 1 : 0;
    const to = from + Number(query.get("limit"));
    return route.fulfill({ json: { object: "list", data: all.slice(from, to), has_more: to < all.length } });
  });
  await page.to("batches");
  await page.getByText("batch_00049").first().waitFor();
  assert.equal(await page.getByRole("row").count(), 51);
  await page.getByRole("button", { name: "Older" }).click();
  await page.getByText("batch_00099").first().waitFor();
  await page.getByRole("button", { name: "Newer" }).click();
  await page.getByText("batch_00000").first().waitFor();
  await closed(page);
});
