// What the suites share: a headless Chromium, the running services, and how a page is judged.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { MODULES, OPEN_URL, KEYS_URL, OIDC_URL, PROVIDER, KEYS, ENGINE_URL, ECHO_URL, SHOTS, GIVEN } =
  process.env;
const require = createRequire(path.join(MODULES, "none.js"));
const { chromium } = require("playwright-core");
const packaged = (await import(pathToFileURL(path.join(MODULES, "@sparticuz/chromium/build/index.js"))))
  .default;
const AXE = require.resolve("axe-core/axe.min.js");

export const OPEN = OPEN_URL; // of the service without an authenticator
export const SECURED = KEYS_URL; // of the one with API keys
export const OIDC = OIDC_URL; // of the one whose users an identity provider knows
export const PROVIDER_PORT = Number(PROVIDER); // where a suite serves that provider
export const keys = JSON.parse(KEYS); // by tenant; "operator" has all scopes, "tenant-0" 10,000 batches
export const { hostile: HOSTILE, letters } = JSON.parse(GIVEN); // texts, and ids of the events of dead letters
export const HOOK = `${ECHO_URL}/hook`; // takes webhooks
export const CHAT = "/v1/chat/completions";
export const WIDTHS = [390, 1280];

/** The browser of a suite. Says what is missing when it cannot start. */
export async function launched() {
  try {
    const executablePath = await packaged.executablePath();
    // Containers often have no sandbox for a browser that runs as root, and a small /dev/shm.
    const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
    return await chromium.launch({ executablePath, args, headless: true, env: process.env });
  } catch (error) {
    throw new Error(
      `The headless Chromium of @sparticuz/chromium cannot start here, so the console was not tested:\n${error.message}`,
    );
  }
}

/** A page of a browser of its own, which fails the test for errors, refused sources and requests elsewhere. */
export async function opened(browser, { width = 1280, height = 900, scheme = "light", origin = OPEN } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    acceptDownloads: true,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.wrong = [];
  const note = (text) => {
    console.error(text); // at once: a test that waits in vain for what the page should show says why
    page.wrong.push(text);
  };
  page.allowed = new Set([new URL(origin).origin]);
  page.on("pageerror", (error) => note(`error: ${error.stack}`));
  page.on("console", (message) => {
    // What the service refuses is shown by the page itself; browsers tell it on their console too.
    if (message.type() === "error" && !/Failed to load resource/.test(message.text()))
      note(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && !page.allowed.has(url.origin)) note(`request: ${url}`);
  });
  page.on("dialog", (dialog) => {
    note(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("filechooser", () => {}); // from now on: a listener that comes with the key press may come too late
  page.root = origin.replace(/\/v1$/, "/console/");
  page.to = (hash) => page.goto(`${page.root}#/${hash}`);
  return page;
}

/** End a page's browser context; nothing may have gone wrong in it. */
export async function closed(page) {
  await page.context().close();
  assert.deepEqual(page.wrong, []);
}

/** No serious finding of axe (unless it is left out), nothing that sticks out to the right, and a picture if one
 *  is wanted. */
export async function judged(page, name, { axe: audited = true } = {}) {
  await page.locator("main").waitFor();
  assert.equal(await page.getByText("Loading the console").count(), 0, "what stood there before the console");
  if (SHOTS) {
    const { width } = page.viewportSize();
    const scheme = await page.evaluate(() =>
      matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
    );
    await page.screenshot({ path: path.join(SHOTS, `${name}-${width}-${scheme}.png`) });
  }
  const beyond = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.equal(beyond, 0, `${name} is ${beyond} pixels too wide at ${page.viewportSize().width}`);
  if (!audited) return;
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(await axe());
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map(
      (one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`,
    );
  assert.deepEqual(serious, [], name);
}

let source = null;
const axe = async () => (source ??= (await import("node:fs/promises")).readFile(AXE, "utf8"));

/** What people do things with, at which width. */
export const HANDS = [
  [390, "mouse"],
  [1280, "keyboard"],
];

/** A person at a page with a mouse, or with a keyboard only. */
export class User {
  constructor(page, hand) {
    Object.assign(this, { page, keyboard: hand === "keyboard" });
  }

  /** Press the control with a role whose name begins so, `within` a part of the page. */
  async press(role, name, within = this.page) {
    const control = within.getByRole(role, { name: beginning(name) }).first();
    await control.waitFor();
    if (!this.keyboard) return control.click();
    await this.reach(control);
    return this.page.keyboard.press("Enter");
  }

  /** Write into the field with this label, in place of what it has. */
  async write(label, text, role = "textbox") {
    const control = this.page.getByRole(role, { name: label, exact: true });
    await control.waitFor();
    if (!this.keyboard) return control.fill(text);
    await this.reach(control);
    await this.page.keyboard.press("ControlOrMeta+a");
    return this.page.keyboard.type(text);
  }

  /** Give a file to the field with this label. */
  async choose(label, file) {
    const control = this.page.getByLabel(label);
    await control.waitFor();
    const chosen = this.page.waitForEvent("filechooser");
    if (this.keyboard) {
      await this.reach(control);
      await this.page.keyboard.press("Enter");
    } else await control.click();
    return (await chosen).setFiles(file);
  }

  /** Change a box that can be ticked. */
  async tick(label) {
    const control = this.page.getByLabel(label).last();
    await control.waitFor();
    if (!this.keyboard) return control.click();
    await this.reach(control);
    return this.page.keyboard.press("Space");
  }

  /** Move the focus forward until it is on the control. */
  async reach(control) {
    for (let presses = 0; presses < 150; presses += 1) {
      if (await control.evaluate((node) => node === document.activeElement)) return;
      await this.page.keyboard.press("Tab");
    }
    assert.fail(`no Tab leads to ${control}`);
  }
}

const beginning = (text) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`);

/** The API, as clients use it. */
export function client(base, key = null) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  async function call(method, path, body) {
    const form = body instanceof FormData;
    const answer = await fetch(`${base}/${path}`, {
      method,
      headers: form ? headers : { ...headers, "content-type": "application/json" },
      body: form ? body : body && JSON.stringify(body),
    });
    const told = await answer.json();
    assert.equal(answer.status, 200, `${method} ${path}: ${JSON.stringify(told)}`);
    return told;
  }
  return {
    get: (path) => call("GET", path),
    post: (path, body = {}) => call("POST", path, body),
    delete: (path) => call("DELETE", path),
    async upload(content, name = "requests.jsonl") {
      const form = new FormData();
      form.append("purpose", "batch");
      form.append("file", new Blob([content]), name);
      return call("POST", "files", form);
    },
    async submit(lines, fields = {}) {
      const file = await this.upload(typeof lines === "string" ? lines : written(lines));
      return this.post("batches", {
        input_file_id: file.id,
        endpoint: CHAT,
        completion_window: "24h",
        ...fields,
      });
    },
    async until(id, condition) {
      for (;;) {
        const found = await this.get(`batches/${id}`);
        if (condition(found)) return found;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    ended(id) {
      return this.until(id, (one) => ["completed", "failed", "expired", "cancelled"].includes(one.status));
    },
  };
}

export const request = (custom_id, content, { model = "sim-large", ...body } = {}) => ({
  custom_id,
  method: "POST",
  url: CHAT,
  body: { model, messages: [{ role: "user", content }], ...body },
});
export const requests = (count, options = {}) =>
  Array.from({ length: count }, (_, n) => request(`request-${n}`, `Question ${n}`, options));
export const written = (lines) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

/** Change how the model behaves; forget it with `configured()`. */
export async function configured(fields = null) {
  const answer = await fetch(`${ENGINE_URL}/_sim/${fields ? "config" : "reset"}`, {
    method: "POST",
    body: JSON.stringify(fields ?? {}),
  });
  assert.equal(answer.status, 200);
}

/** Wait until a condition holds; the page's policy lets no test evaluate text in it, as waitForFunction does. */
export async function eventually(condition) {
  for (let tries = 0; !(await condition()); tries += 1) {
    assert.ok(tries < 200, `not within 20 seconds: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
