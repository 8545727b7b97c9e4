// Sign-in at an identity provider: the code flow with PKCE, renewal, and what goes wrong.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { OIDC, PROVIDER_PORT, closed, launched, opened } from "./browser.mjs";
import { provider } from "./provider.mjs";

let browser;
let idp;

before(async () => {
  idp = await provider(PROVIDER_PORT);
  browser = await launched();
});
beforeEach(() =>
  Object.assign(idp.state, {
    refused: [],
    tokens: 0,
    refuse: null,
    lives: 300,
    redirect: OIDC.replace(/\/v1$/, "/console/"),
  }),
);
after(async () => {
  await browser?.close();
  await idp.close();
});

async function arriving() {
  const page = await opened(browser, { origin: OIDC });
  page.allowed.add(`http://127.0.0.1:${PROVIDER_PORT}`);
  await page.to("files");
  await page.getByRole("button", { name: "Sign in" }).click();
  return page;
}

test("a browser is sent to the provider and comes back to the page that it wanted, with nothing in the address", async () => {
  const page = await arriving();
  await page.getByText("No files").waitFor();
  assert.equal(page.url(), `${page.root}#/files`);
  assert.deepEqual(idp.state.refused, []);
  await closed(page);
});

test("a token that the service no longer takes is renewed without a word", async () => {
  idp.state.lives = -3600; // beyond the leeway: the service refuses the first one
  const page = await opened(browser, { origin: OIDC });
  page.allowed.add(`http://127.0.0.1:${PROVIDER_PORT}`);
  await page.route("**/token", async (route) => {
    const response = await route.fetch();
    idp.state.lives = 300;
    await route.fulfill({ response });
  });
  await page.to("files");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("No files").waitFor();
  assert.equal(idp.state.tokens, 2);
  assert.deepEqual(idp.state.refused, []);
  await closed(page);
});

test("what the provider refuses is told", async () => {
  idp.state.refuse = "access_denied";
  const page = await arriving();
  await page.getByText("The identity provider refuses: access_denied.").waitFor();
  await closed(page);
});

test("a sign-in that was not begun in this tab is not finished", async () => {
  const page = await opened(browser, { origin: OIDC });
  await page.goto(`${page.root}?code=stolen&state=made-up`);
  await page.getByText("This sign-in was not begun here.").waitFor();
  assert.equal(page.url().includes("stolen"), false);
  assert.equal(idp.state.tokens, 0);
  await closed(page);
});
