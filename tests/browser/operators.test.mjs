// The pages for operators (functions, queue, keys, dead letters), which keys of users may not open.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  HOSTILE,
  HOOK,
  SECURED,
  HANDS,
  User,
  client,
  closed,
  eventually,
  judged,
  keys,
  launched,
  letters,
  opened,
  request,
} from "./browser.mjs";

const ada = client(SECURED, keys.ada);
const operator = client(SECURED, keys.operator);
const PAGES = { "all-batches": "All batches", queue: "Queue", functions: "Functions", keys: "API keys", "dead-letters": "Dead letters" };
let browser;

before(async () => (browser = await launched()));
after(() => browser.close());

/** A page at `hash` that a user with `key` is signed in to. */
async function signedIn(key, hash, look = {}) {
  const page = await opened(browser, { ...look, origin: SECURED });
  await page.to(hash);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  return page;
}

test("an open breaker and a tenant's batch are shown, with their reasons", async () => {
  const page = await signedIn(keys.operator, "models");
  const made = await ada.submit([request("a", "hi", { model: "locked" })]);
  await page.getByText("The endpoint refuses the service's API key.").waitFor({ timeout: 60_000 });
  await page.to("queue");
  const row = page.getByRole("row", { name: new RegExp(made.id) });
  await row.getByText("Endpoint refuses the key").waitFor({ timeout: 60_000 });
  assert.match(await row.innerText(), /ada/);
  await ada.post(`batches/${made.id}/cancel`);
  await closed(page);
});

describe("batches of all tenants", () => {
  for (const [width, hand] of HANDS) {
    test(`they are found, opened and cancelled at ${width} pixels, by ${hand}`, async () => {
      const zoe = client(SECURED, (await operator.post("admin/keys", { tenant: "zoe" })).secret);
      const hook = { name: `zoe's hook ${width}`, url: HOOK, event_types: ["batch.cancelled"] };
      await zoe.post("webhook_endpoints", hook);
      const note = { metadata: { name: `secret of zoe ${width}` } };
      const lines = [request("mine", "private words", { model: "locked" })];
      const made = await Promise.all([zoe.submit(lines, note), zoe.submit(lines), ada.submit(lines)]);
      const bad = await zoe.submit("not json\n");
      await zoe.ended(bad.id);
      const page = await signedIn(keys.operator, "all-batches", { width });
      const user = new User(page, hand);
      for (const { id } of made) await page.getByRole("link", { name: id }).waitFor();
      await judged(page, "all-batches");
      await user.write("Tenant or batch id", "zoe", "searchbox");
      await user.press("button", "Search");
      await page.getByRole("link", { name: made[2].id }).waitFor({ state: "detached" });
      await page.getByRole("link", { name: made[0].id }).waitFor();
      assert.ok(page.url().endsWith("#/all-batches?tenant=zoe"));

      await user.press("link", made[0].id);
      await page.getByRole("heading", { name: `secret of zoe ${width}` }).waitFor();
      await page.getByText("tenant zoe", { exact: false }).first().waitFor();
      await page.getByText("Endpoint refuses the key").waitFor({ timeout: 60_000 });
      await judged(page, "any-batch");
      assert.equal(await page.getByRole("link", { name: /^Results/ }).count(), 0);
      assert.equal(await page.getByRole("button", { name: /Download|Retry|Delete|Pause/ }).count(), 0);
      await user.press("button", "Cancel");
      await user.press("button", "Cancel the batch", page.getByRole("dialog"));
      await page.getByText("Cancelled", { exact: true }).first().waitFor({ timeout: 60_000 });
      await user.press("link", "Events", page.getByRole("navigation", { name: "Parts of the batch" }));
      await page.getByText("batch.cancel").first().waitFor();
      await eventually(async () => {
        const told = await operator.get(`admin/batches/${made[0].id}/deliveries`);
        return told.data.some((one) => one.status === "delivered");
      });
      await user.press("button", "Read again");
      const sent = page.getByRole("row", { name: new RegExp(hook.name) });
      await sent.getByText("Delivered").waitFor();
      assert.equal(await page.getByText(HOOK).count(), 0);
      await judged(page, "any-batch-events");
      await page.to(`all-batches/${bad.id}/errors`);
      await page.getByText("not parseable as valid JSON").waitFor();
      await judged(page, "any-batch-errors");
      await page.to(`all-batches/${bad.id}/events`);
      await page.getByText("No webhook endpoint of the tenant received it.").waitFor();

      await page.to("all-batches");
      await user.tick(`Choose ${made[1].id}`);
      await user.tick(`Choose ${made[2].id}`);
      await user.press("button", "Cancel 2");
      await user.press("button", "Cancel", page.getByRole("dialog"));
      await page.getByText("2 batches cancelled").waitFor();
      assert.equal((await ada.ended(made[2].id)).status, "cancelled");
      await closed(page);
    });
  }

  test("a key that may only operate comes to what it may see, in both themes", async () => {
    const only = await operator.post("admin/keys", { tenant: "platform", name: "only", scopes: ["operate"] });
    for (const scheme of ["light", "dark"]) {
      const page = await opened(browser, { origin: SECURED, scheme });
      await page.goto(page.root);
      await page.getByLabel("API key").fill(only.secret);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("heading", { name: "All batches" }).waitFor();
      const links = page.getByRole("navigation", { name: "Console" }).getByRole("link");
      for (const text of (await links.allInnerTexts()).filter((name) => name !== "API reference")) {
        await links.filter({ hasText: text }).click();
        await page.getByRole("heading", { name: text, exact: true }).first().waitFor();
        await page.getByLabel("Loading").waitFor({ state: "detached" });
        await judged(page, `only-operate-${text.toLowerCase().replace(" ", "-")}`);
        assert.equal(await page.getByText("Not allowed").count(), 0, text);
      }
      await page.goto(page.root); // the key is kept in the tab
      await page.getByRole("heading", { name: "All batches" }).waitFor();
      await closed(page);
    }
    await operator.post(`admin/keys/${only.id}/revoke`);
  });
});

describe("keys", () => {
  for (const [width, hand] of HANDS) {
    test(`a key is created, seen once, used and revoked at ${width} pixels, by ${hand}`, async () => {
      const page = await signedIn(keys.operator, "keys", { width });
      const user = new User(page, hand);
      await user.press("button", "New key");
      await user.write("Tenant", "carol");
      await user.write("Name", `${width} ${HOSTILE[0]}`);
      await user.tick("submit: create, change and delete them");
      await judged(page, "key-new");
      await user.press("button", "Create the key");
      const secret = await page.getByText(/^sk-bg-/).innerText();
      await judged(page, "key-secret");
      await user.press("button", "I have kept it");
      await page.getByText(secret).waitFor({ state: "detached" });
      assert.deepEqual((await client(SECURED, secret).get("batches")).data, []);
      const row = page.getByRole("row", { name: new RegExp(`^${width} `) });
      await row.getByText("active").waitFor();
      await judged(page, "keys");
      await user.press("button", `Revoke ${width}`);
      await user.press("button", "Revoke", page.getByRole("dialog"));
      await row.getByText("revoked").waitFor();
      await closed(page);
    });
  }
});

describe("dead letters", () => {
  test("one is read and replayed, another deleted, and what they say stays text", async () => {
    const page = await signedIn(keys.operator, "dead-letters");
    for (const text of HOSTILE.slice(0, 5)) await page.getByText(text).first().waitFor();
    await judged(page, "dead-letters");
    const [first, second] = letters;
    await page.getByRole("button", { name: `Look ${first}` }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(HOSTILE[1], { exact: false }).first().waitFor();
    await judged(page, "dead-letter");
    await dialog.getByRole("button", { name: "Replay this event" }).click();
    await page.getByText("The event was sent again").waitFor();
    await page.getByRole("button", { name: `Delete ${second}` }).click();
    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.getByText("The event was deleted").waitFor();
    await eventually(async () => {
      const left = (await operator.get("admin/dead_letters")).data.map((one) => one.event_id);
      return !left.includes(first) && !left.includes(second);
    });
    assert.equal(
      await page.evaluate(
        () =>
          document.querySelectorAll(
            "img, iframe, script:not([src='app.js']), [onerror], [onload], a[href^='javascript']",
          ).length,
      ),
      0,
    );
    await closed(page);
  });
});

describe("states of the pages", () => {
  test("a key without the scope is told so, and is offered none of them", async () => {
    const page = await signedIn(keys.bob, "batches");
    await page.getByText("No batches yet").waitFor();
    for (const hash of Object.keys(PAGES)) {
      await page.to(hash);
      await page.getByRole("heading", { name: "Not allowed" }).waitFor();
      await judged(page, `${hash}-403`);
    }
    assert.equal(await page.getByRole("link", { name: "Dead letters" }).count(), 0);
    await page.to("models");
    await page.getByText("sim-large").first().waitFor();
    assert.equal(await page.getByText("Limit of calls at once").count(), 0);
    await closed(page);
  });

  test("empty, loading, failing and unreachable ones are told", async () => {
    const page = await signedIn(keys.operator, "files");
    await page.getByRole("link", { name: "Queue" }).waitFor();
    let go;
    const waiting = new Promise((resolve) => (go = resolve));
    await page.route("**/v1/admin/**", async (route) => {
      await waiting;
      await route.fulfill({ json: { object: "list", data: [], has_more: false } });
    });
    await page.getByRole("link", { name: "Dead letters" }).click();
    await page.getByLabel("Loading").waitFor();
    go();
    await page.getByText("Subscribers have taken all events.").waitFor();
    await judged(page, "dead-letters-none");
    await page.to("keys");
    await page.getByText("A key opens the files and batches of one tenant.").waitFor();
    await judged(page, "keys-none");
    await page.unroute("**/v1/admin/**");
    await page.route("**/v1/admin/**", (route) =>
      route.fulfill({ status: 503, json: { error: { message: "The coordination store does not answer." } } }),
    );
    for (const [hash, head] of Object.entries(PAGES)) {
      await page.to(hash);
      await page.getByRole("heading", { name: head, exact: true }).waitFor();
      await page.getByText("The coordination store does not answer.").waitFor();
      await page.getByRole("button", { name: "Try again" }).waitFor();
    }
    await page.unroute("**/v1/admin/**");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("button", { name: /^Look/ }).first().waitFor();
    await page.context().setOffline(true);
    await page.getByText("The service cannot be reached").first().waitFor();
    assert.ok((await page.getByRole("button", { name: /^Look/ }).count()) > 0); // what was read stays
    await closed(page);
  });
});
