// Long batches and many batches, on a database that has them: the page holds what is in sight, and stays quick.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SECURED, client, closed, judged, keys, launched, opened } from "./browser.mjs";

const KEY = keys["tenant-0"]; // has 10,000 batches; the newest of them has 50,000 results
const NAME = "the long one";
const api = client(SECURED, KEY);
let browser;

before(async () => (browser = await launched()));
after(() => browser.close());

/** A page at `hash` that a user with `key` is signed in to. */
async function signedIn(key, hash) {
  const page = await opened(browser, { origin: SECURED });
  await page.to(hash);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  return page;
}

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
  const [batch] = (await api.get("batches?limit=1")).data;
  assert.equal(batch.metadata.name, NAME);
  const page = await signedIn(KEY, `batches/${batch.id}`);
  const longest = await stalls(page);
  await page.getByRole("link", { name: /^Results/ }).click();
  await page.getByText("50,000 of 50,000").waitFor({ timeout: 60_000 });
  await page.locator(".long").evaluate((node) => (node.scrollTop = node.scrollHeight));
  await page.getByText("request-49999").waitFor();
  await judged(page, "50000-results", { axe: false });
  assert.ok((await page.locator(".long-row").count()) < 60);
  await page.getByLabel("Search in ids and answers").fill("request-31415");
  await page.getByText("1 of 50,000").waitFor();
  await page.getByText("request-31415").click();
  await page.getByRole("dialog").getByText("Answer 31415", { exact: false }).first().waitFor();
  assert.ok((await longest()) < 2000, `${await longest()} ms without a reaction`);
  await closed(page);
});

/** The ids that the page's table has. */
const shown = (page) =>
  page
    .locator("td a[href*='batches/']")
    .evaluateAll((found) => found.map((one) => one.getAttribute("href").split("/").pop()));

for (const [who, key, hash] of [
  ["tenant", KEY, "batches"],
  ["operator", keys.operator, "all-batches?tenant=tenant-0"],
])
  test(`10,000 batches are listed page by page for the ${who}`, async () => {
    const first = (await api.get("batches?limit=100")).data.map((one) => one.id);
    const page = await signedIn(key, hash);
    const longest = await stalls(page);
    const until = (id) => page.locator(`td a[href$="${id}"]`).first().waitFor();
    await until(first[49]);
    assert.deepEqual(await shown(page), first.slice(0, 50));
    await page.getByRole("button", { name: "Older" }).click();
    await until(first[99]);
    assert.deepEqual(await shown(page), first.slice(50));
    await judged(page, `10000-${hash.split("?")[0]}`, { axe: false });
    await page.getByRole("button", { name: "Newer" }).click();
    await until(first[0]);
    assert.ok((await longest()) < 2000, `${await longest()} ms without a reaction`);
    await closed(page);
  });

test("the last of 10,000 batches are reached, and a filter finds every hundredth of them", async () => {
  const counted = { all: 0, seven: 0 };
  for (const [name, filter] of [
    ["all", ""],
    ["seven", "&metadata[number]=7"],
  ]) {
    let after = "";
    for (let more = true; more; ) {
      const found = await api.get(`batches?limit=100${filter}${after}`);
      counted[name] += found.data.length;
      after = `&after=${found.last_id}`;
      more = found.has_more;
    }
  }
  assert.deepEqual(counted, { all: 10_000, seven: 100 });
});
