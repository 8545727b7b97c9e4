// What users and models write stays text, keys stay where they belong, and states without an answer are told.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import {
  CHAT,
  HOSTILE,
  OPEN,
  SECURED,
  client,
  closed,
  judged,
  keys,
  launched,
  opened,
  request,
  requests,
  written,
} from "./browser.mjs";

const open = client(OPEN);
let browser;

before(async () => (browser = await launched()));
after(() => browser.close());

test("hostile ids, file names, notes, answers and errors are shown as they are, and run nothing", async () => {
  const lines = HOSTILE.flatMap((text, n) => [
    request(`${n} ${text}`, `answer ${n} ${text}`, { model: "echo" }),
    request(`${n} refused ${text}`, `refuse ${n} ${text}`, { model: "echo" }),
  ]);
  const notes = Object.fromEntries(HOSTILE.map((text, n) => [`note ${n}`, text.replaceAll("\0", "")]));
  const file = await open.upload(written(lines), `${HOSTILE[0]}.jsonl`);
  const made = await open.post("batches", {
    input_file_id: file.id,
    endpoint: CHAT,
    completion_window: "24h",
    metadata: { name: HOSTILE[1], ...notes },
  });
  const broken = await open.submit(HOSTILE.map((text) => `${text.replaceAll("\0", "")}\n`).join(""), {
    metadata: { name: HOSTILE[3] },
  });
  await open.ended(made.id);
  await open.ended(broken.id);
  const page = await opened(browser);
  const shown = (text) => page.getByText(text, { exact: false }).first().waitFor();
  await page.to("batches");
  await shown(HOSTILE[1]);
  await page.to(`batches/${made.id}`);
  for (const text of HOSTILE.slice(0, 5)) await shown(text);
  await page.to(`batches/${made.id}/results`);
  for (const [n, text] of HOSTILE.slice(0, 5).entries()) await shown(`answer ${n} ${text}`);
  await page.getByText(`answer 0 ${HOSTILE[0]}`).click();
  await page.getByRole("dialog").getByText('"custom_id"').waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.to(`batches/${made.id}/errors`);
  for (const [n, text] of HOSTILE.slice(0, 5).entries()) await shown(`refuse ${n} ${text}`);
  await page.to(`batches/${broken.id}/errors`);
  await page.getByLabel("Line 1").waitFor();
  assert.equal(await page.getByLabel("Line 1").inputValue(), HOSTILE[0]);
  await page.to("files");
  await shown(`${HOSTILE[0]}.jsonl`);
  await page.to(`new?file=${encodeURIComponent(HOSTILE[0])}&endpoint=${encodeURIComponent(HOSTILE[1])}`);
  await page.getByRole("heading", { name: "New batch" }).waitFor();
  await page.to(`batches?model=${encodeURIComponent(HOSTILE[0])}`);
  await shown("No batch matches");
  const made_of = await page.evaluate(
    () =>
      document.querySelectorAll(
        "img, iframe, script:not([src='app.js']), [onerror], [onload], a[href^='javascript']",
      ).length,
  );
  assert.equal(made_of, 0);
  await closed(page);
});

test("the policy stops scripts even if one got into the page", async () => {
  const page = await opened(browser);
  await page.to("batches");
  await page.getByRole("heading", { name: "Batches" }).waitFor();
  const ran = await page.evaluate(async () => {
    const refused = [];
    const all = new Promise((resolve) =>
      document.addEventListener(
        "securitypolicyviolation",
        (event) => refused.push(event.effectiveDirective) === 3 && resolve(),
      ),
    );
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<img src='data:,x' onerror='window.ran = true'>");
    const sent = await fetch("https://elsewhere.example/").then(
      () => true,
      () => false,
    );
    await all;
    return [window.ran === true, sent, refused.sort()];
  });
  assert.deepEqual(ran, [false, false, ["connect-src", "script-src-attr", "script-src-elem"]]);
  assert.ok(page.wrong.some((text) => text.includes("Content Security Policy")));
  await page.context().close();
});

describe("keys", () => {
  test("a key goes into the header only, and is gone after signing out", async () => {
    const page = await opened(browser, { origin: SECURED });
    const sent = [];
    page.on("request", (one) =>
      sent.push({ url: one.url(), cookie: one.headers().cookie, auth: one.headers().authorization }),
    );
    await page.to("files");
    await page.getByLabel("API key").fill(keys.bob);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("No files").waitFor();
    await page.reload(); // session storage keeps it
    await page.getByText("No files").waitFor();
    assert.ok(sent.some((one) => one.auth === `Bearer ${keys.bob}`));
    assert.deepEqual(
      sent.filter((one) => one.cookie || one.url.includes(keys.bob)),
      [],
    );
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("API key").waitFor();
    assert.equal(
      await page.evaluate(() => sessionStorage.length + localStorage.length + document.cookie.length),
      0,
    );
    await closed(page);
  });

  test("a key in memory is gone after a reload", async () => {
    const page = await opened(browser, { origin: SECURED });
    await page.to("files");
    await page.getByLabel("API key").fill(keys.bob);
    await page.getByLabel("Keep it until this tab is closed").uncheck();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("No files").waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await page.reload();
    await page.getByLabel("API key").waitFor();
    await closed(page);
  });

  test("a tenant sees nothing of another one", async () => {
    const ada = client(SECURED, keys.ada);
    const made = await ada.submit(requests(1), { metadata: { name: "Ada's own" } });
    const page = await opened(browser, { origin: SECURED });
    await page.to(`batches/${made.id}`);
    await page.getByLabel("API key").fill(keys.bob);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("No batch found with id").waitFor();
    await page.to("batches");
    await page.getByText("No batches yet").waitFor();
    await closed(page);
  });
});

describe("states without an answer", () => {
  test("a service that goes away is told, and the page goes on when it is back", async () => {
    const page = await opened(browser);
    await page.to("batches");
    await page.getByRole("heading", { name: "Batches" }).waitFor();
    await page.context().setOffline(true);
    await page.getByText("The service cannot be reached").first().waitFor();
    await judged(page, "offline");
    await page.context().setOffline(false);
    await page
      .getByText("The service cannot be reached")
      .first()
      .waitFor({ state: "detached", timeout: 40_000 });
    await closed(page);
  });

  for (const [status, shown] of [
    [403, "Not allowed"],
    [500, "This did not work"],
  ]) {
    test(`an answer ${status} is told on the page`, async () => {
      const page = await opened(browser);
      await page.route("**/v1/batches?*", (route) =>
        route.fulfill({
          status,
          json: { error: { message: "Because of <b>this</b>.", type: "x", code: null, param: null } },
        }),
      );
      await page.to("batches");
      await page.getByText(shown).waitFor();
      await page.getByText("Because of <b>this</b>.").waitFor();
      await judged(page, `error-${status}`);
      await closed(page);
    });
  }

  test("waiting is shown", async () => {
    const page = await opened(browser);
    let go;
    const waiting = new Promise((resolve) => (go = resolve));
    await page.route("**/v1/files?*", async (route) => (await waiting, route.continue()));
    await page.to("files");
    await page.getByLabel("Loading").waitFor();
    await judged(page, "loading");
    go();
    await page.getByLabel("Loading").waitFor({ state: "detached" });
    await closed(page);
  });
});
