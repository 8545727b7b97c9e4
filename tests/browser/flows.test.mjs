// What people do in the console, from sign-in to a downloaded result, by mouse and by keyboard only.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, beforeEach, describe, test } from "node:test";
import {
  OPEN,
  SECURED,
  User,
  WIDTHS,
  client,
  closed,
  configured,
  eventually,
  judged,
  keys,
  launched,
  opened,
  request,
  requests,
  written,
} from "./browser.mjs";

const ada = client(SECURED, keys.ada);
const open = client(OPEN);
let browser;

before(async () => (browser = await launched()));
beforeEach(() => configured());
after(async () => {
  await configured();
  await browser.close();
});

const jsonl = (name, lines) => ({
  name,
  mimeType: "application/jsonl",
  buffer: Buffer.from(typeof lines === "string" ? lines : written(lines)),
});

/** Move the focus forward until it is on the control with this name, as a keyboard's user does. */
async function tabTo(page, name) {
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const node = document.activeElement;
      return node?.getAttribute("aria-label") ?? node?.labels?.[0]?.textContent ?? node?.textContent ?? "";
    });
    if (at.trim().startsWith(name)) return;
  }
  assert.fail(`no Tab leads to ${name}`);
}

async function saved(page, act) {
  const [download] = await Promise.all([page.waitForEvent("download"), act()]);
  return (await readFile(await download.path(), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("from sign-in to a downloaded result", () => {
  for (const width of WIDTHS) {
    test(`by mouse at ${width} pixels`, async () => {
      await configured({ ttft_ms: 300, slots: 8 }); // so that it can be seen running
      const page = await opened(browser, { width, origin: SECURED });
      await page.to("batches");
      await judged(page, "signin");
      await page.getByLabel("API key").fill("sk-wrong");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("The service does not know this api key").waitFor();
      await page.getByLabel("API key").fill(keys.ada);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("link", { name: "New batch" }).last().click();
      await page.getByLabel("JSONL file").setInputFiles(jsonl(`mouse-${width}.jsonl`, requests(120)));
      await page.getByText("The file can be run").waitFor();
      const checked = await page.getByRole("main").innerText();
      assert.match(checked, /120/);
      assert.match(checked, /Estimated cost\s+\$\d/);
      await judged(page, "new-checked");
      await page.getByText("More options").click();
      await page.getByLabel("Stop at a cost (USD)").fill("1000");
      await page.getByLabel("Name").fill(`By mouse ${width}`);
      await page.getByRole("button", { name: "Submit the batch" }).click();
      await page.getByRole("heading", { name: `By mouse ${width}` }).waitFor();
      await page.getByText("In progress").waitFor();
      await page.getByText("at most a cost of 1000").waitFor();
      await page.getByRole("link", { name: /^Results/ }).click();
      await page
        .getByText(/^request-\d+$/)
        .first()
        .click(); // an answer, while it runs
      await page.getByRole("dialog").getByText('"custom_id"').waitFor();
      await judged(page, "result");
      await page.getByRole("button", { name: "Close" }).click();
      await configured();
      const lines = await saved(page, () =>
        page.getByRole("button", { name: "Download results" }).click({ timeout: 60_000 }),
      );
      assert.deepEqual(
        lines.map((line) => line.custom_id),
        requests(120).map((one) => one.custom_id),
      );
      await closed(page);
    });

    test(`by keyboard at ${width} pixels`, async () => {
      const page = await opened(browser, { width, origin: SECURED });
      await page.to("new");
      await page.getByLabel("API key").waitFor();
      await page.keyboard.type(keys.ada); // the field has the focus
      await page.keyboard.press("Enter");
      await page.getByLabel("JSONL file").waitFor();
      await tabTo(page, "JSONL file");
      const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Enter")]);
      await chooser.setFiles(jsonl(`keyboard-${width}.jsonl`, requests(20)));
      await page.getByText("The file can be run").waitFor();
      await tabTo(page, "Name");
      await page.keyboard.type(`By keyboard ${width}`);
      await page.keyboard.press("Enter"); // submits the form
      await page.getByRole("heading", { name: `By keyboard ${width}` }).waitFor();
      await page.getByRole("button", { name: "Download results" }).waitFor({ timeout: 60_000 });
      await tabTo(page, "Download results");
      const lines = await saved(page, () => page.keyboard.press("Enter"));
      assert.equal(lines.length, 20);
      await tabTo(page, "Results");
      await page.keyboard.press("Enter");
      await tabTo(page, "succeeded"); // the first row
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      assert.match(await page.evaluate(() => document.activeElement.className), /long-open/); // where it was
      await closed(page);
    });

    test(`a saturated engine is explained at ${width} pixels`, async () => {
      await configured({ fault_rate: 1, fault_kinds: ["429"] });
      const made = await open.submit(requests(40, { max_tokens: width }), { metadata: { name: `Stuck ${width}` } });
      const page = await opened(browser, { width });
      for (const hand of ["mouse", "keyboard"]) {
        const user = new User(page, hand);
        await page.to("batches");
        await page.getByRole("row", { name: new RegExp(`Stuck ${width}`) }).getByText("In progress").waitFor({ timeout: 60_000 });
        await user.press("link", `Stuck ${width}`);
        await page.getByText("Engine is saturated").waitFor({ timeout: 60_000 });
        await page.getByText("No request is lost before the deadline.").waitFor();
        await judged(page, "saturated", { axe: hand === "mouse" });
        await user.press("link", "Look at the models"); // without keys, all are operators
        await page.getByRole("heading", { name: "Models", exact: true }).waitFor();
      }
      const pool = page.locator("section", { hasText: "engine/sim-large" });
      await pool
        .getByText(/^\d+ calls? (was|were) refused, timed out or broke\.$/)
        .waitFor({ timeout: 60_000 });
      await pool.getByText("Endpoint engine").waitFor();
      await pool.getByText("at all hours").waitFor();
      await pool.getByText("calls pass").waitFor();
      const drawn = pool.getByRole("img", { name: /^In the last hour\. limit: now [\d.]+, at most [\d.]+; calls/ });
      await drawn.waitFor();
      await judged(page, "models-saturated");
      const [, before] = /at most ([\d.]+);/.exec(await drawn.getAttribute("aria-label"));
      await page.reload(); // the service has kept what was before
      await drawn.waitFor();
      const [, after] = /at most ([\d.]+);/.exec(await drawn.getAttribute("aria-label"));
      assert.ok(Number(after) >= Number(before), `${after} after a reload, ${before} before it`);
      await page.to("queue");
      const row = page.getByRole("row", { name: new RegExp(made.id) });
      await row.getByText("Engine is saturated").waitFor({ timeout: 60_000 });
      await judged(page, "queue");
      await page.to("functions");
      const executor = page.locator("section", { hasText: "executor" });
      await executor.getByText(/^[1-9]\d* running$/).waitFor({ timeout: 60_000 });
      await page.locator("section", { hasText: "intake" }).getByText("at zero").waitFor();
      await executor
        .getByRole("img", { name: /^Instances in the last hour. instances: now [1-9]/ })
        .waitFor();
      await judged(page, "functions");
      await page.to(`batches/${made.id}`);
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByRole("button", { name: "Cancel the batch" }).click();
      await page.getByText("Cancelled", { exact: true }).first().waitFor();
      await configured();
      await closed(page);
    });
  }
});

describe("a file that failed", () => {
  for (const [width, hand] of WIDTHS.flatMap((width) => ["mouse", "keyboard"].map((hand) => [width, hand]))) {
    test(`a file with bad lines is understood and mended at ${width} pixels, by ${hand}`, async () => {
      const page = await opened(browser, { width });
      const user = new User(page, hand);
      const bad = `${written(requests(3))}{"custom_id": "broken", \n${JSON.stringify({ ...request("gone", "x"), url: "/v1/nothing" })}\n`;
      await page.to("new");
      await user.choose("JSONL file", jsonl("bad.jsonl", bad));
      await page.getByText("The file cannot be run as it is").waitFor();
      await judged(page, "new-bad");
      await user.press("link", "Correct the lines");
      await page.getByText("This line is not parseable as valid JSON").waitFor();
      assert.equal(await page.getByLabel("Line 4").inputValue(), '{"custom_id": "broken", ');
      await user.write("Line 4", JSON.stringify(request("mended", "x")));
      await page.getByText("This is a request as far as the browser can tell").first().waitFor();
      await user.tick("Leave this line out");
      await user.press("button", "Check the corrected file");
      await page.getByText("The file can be run").waitFor();
      await user.press("button", "Submit the batch");
      const results = page.getByRole("button", { name: "Download results" });
      await results.waitFor({ timeout: 60_000 });
      const lines = await saved(page, () => user.press("button", "Download results"));
      assert.deepEqual(
        lines.map((line) => line.custom_id),
        ["request-0", "request-1", "request-2", "mended"],
      );
      await closed(page);
    });
  }
});

describe("a batch's failures and steering", () => {
  test("what failed with one code is retried as a new batch", async () => {
    const lines = [
      request("good", "hi", { model: "echo" }),
      request("bad-1", "refuse too_long", { model: "echo" }),
      request("bad-2", "refuse too_long", { model: "echo" }),
      request("other", "refuse else", { model: "echo" }),
    ];
    const made = await open.submit(lines);
    await open.ended(made.id);
    const page = await opened(browser);
    await page.to(`batches/${made.id}/errors`);
    await page.getByText("refuse too_long").first().waitFor();
    await page.getByRole("link", { name: "Show them" }).first().click();
    await page.getByText("2 of 4").waitFor();
    await page.getByRole("link", { name: /^Errors/ }).click();
    await page.getByRole("button", { name: "Retry these 2" }).click();
    await page.getByText("Retry of").waitFor();
    const again = page.url().split("/").at(-1);
    const found = await open.ended(again);
    assert.equal(found.retry_of, made.id);
    assert.equal(found.carried_over, 2);
    await closed(page);
  });

  test("it is paused, changed, resumed and deleted", async () => {
    await configured({ ttft_ms: 500, slots: 2 });
    const made = await open.submit(requests(60, { max_tokens: 3 }));
    const page = await opened(browser);
    await page.to(`batches/${made.id}`);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("The batch was paused.").waitFor();
    await page.getByRole("button", { name: "Change" }).click();
    await page.getByLabel("Priority").selectOption("0");
    await page.getByLabel("Completion window").fill("2h");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("0 of 0 (first) to 9 (last)").waitFor();
    await configured();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByText("Completed", { exact: true }).first().waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.waitForURL(/#\/batches$/);
    assert.equal((await fetch(`${OPEN}/batches/${made.id}`)).status, 404);
    await closed(page);
  });

  test("several are found by their note and cancelled together", async () => {
    const team = `bulk ${Date.now()}`;
    await configured({ ttft_ms: 60_000, slots: 1 });
    const some = await Promise.all([1, 2, 3].map(() => open.submit(requests(2), { metadata: { team } })));
    const page = await opened(browser);
    await page.to("batches");
    await page.getByLabel("Search by batch id or note").fill(`team=${team}`);
    await page.keyboard.press("Enter");
    await eventually(async () => (await page.locator("tbody tr").count()) === 3);
    await page.getByLabel("Choose all on this page").check();
    await page.getByRole("button", { name: "Cancel 3" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    await page.getByText("3 batches cancelled").waitFor();
    for (const { id } of some) assert.equal((await open.ended(id)).status, "cancelled");
    await page.getByLabel("Search by batch id or note").fill(some[0].id);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Time line" }).waitFor();
    await configured();
    await closed(page);
  });

  test("one request is looked up before it has a result", async () => {
    await configured({ ttft_ms: 60_000, slots: 1 });
    const made = await open.submit(requests(5, { max_tokens: 9 }));
    const page = await opened(browser);
    await page.to(`batches/${made.id}/results`);
    await page.getByLabel("Search in ids and answers").fill("request-3");
    await page.getByRole("button", { name: "Look up this custom_id" }).click();
    await page.getByText("This request is pending.").waitFor();
    await open.post(`batches/${made.id}/cancel`);
    await configured();
    await closed(page);
  });
});

describe("files and webhooks", () => {
  test("a file is used for a batch, downloaded and deleted", async () => {
    const file = await open.upload(written(requests(2)), "kept-here.jsonl");
    const page = await opened(browser);
    await page.to("files");
    const row = page.getByRole("row", { name: /kept-here/ });
    assert.equal((await saved(page, () => row.getByRole("button", { name: "Download" }).click())).length, 2);
    await row.getByRole("link", { name: "Use" }).click();
    await page.getByText("The file can be run").waitFor();
    await page.to("files");
    await row.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByText("The file was deleted").waitFor();
    assert.equal((await fetch(`${OPEN}/files/${file.id}`)).status, 404);
    await closed(page);
  });

  test("a webhook endpoint is made, seen once with its secret, edited and deleted", async () => {
    const page = await opened(browser);
    await page.to("webhooks");
    await page.getByRole("button", { name: "Add an endpoint" }).first().click();
    await page.getByLabel("Name").fill("Pager");
    await page.getByLabel("URL").fill("https://hooks.example.com/batches");
    await judged(page, "webhook-new");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText(/^whsec_/).waitFor();
    await page.getByRole("button", { name: "I have kept it" }).click();
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Name").fill("Pager of the team");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Pager of the team").waitFor();
    await page.getByRole("button", { name: "Deliveries" }).click();
    await page.getByText("Nothing was sent yet").waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await judged(page, "webhooks-one");
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByText("No webhook endpoints").waitFor();
    await closed(page);
  });
});
