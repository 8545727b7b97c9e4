// Sign-in at an identity provider: the authorization code flow with PKCE (RFC 7636).

import { forget, keep, session } from "./session.js";

const PENDING = "batch-gateway-sign-in";

const redirect = () => new URL("./", location.href.replace(/[?#].*/, "")).href;

/** Leave for the provider's page; it sends the browser back here. */
export async function leave() {
  if (!crypto.subtle) throw new Error("Browsers allow this sign-in over HTTPS or on localhost only.");
  const { client_id, authorization_url, scope } = session.config.oidc;
  const pending = { verifier: random(32), state: random(16), page: location.hash };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(pending.verifier));
  const url = new URL(authorization_url);
  const query = {
    response_type: "code",
    client_id,
    redirect_uri: redirect(),
    scope,
    state: pending.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  location.assign(url);
}

/** Take up what the provider sent the browser back with. Raises Error when it refused. */
export async function arrive() {
  const query = new URLSearchParams(location.search);
  if (!query.has("state")) return;
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", redirect() + (pending?.page ?? "")); // the code leaves the address
  if (pending === null || query.get("state") !== pending.state) {
    throw new Error("This sign-in was not begun here. Please sign in again.");
  }
  if (query.has("error")) {
    throw new Error(
      `The identity provider refuses: ${query.get("error_description") ?? query.get("error")}.`,
    );
  }
  await take({
    grant_type: "authorization_code",
    code: query.get("code") ?? "",
    redirect_uri: redirect(),
    code_verifier: pending.verifier,
  });
}

let renewing = null; // one renewal at a time: a refresh token may be good for one use only

/** Whether there is another token now. */
export function renewed() {
  if (session.refresh === null) return Promise.resolve(false);
  renewing ??= take({ grant_type: "refresh_token", refresh_token: session.refresh })
    .then(
      () => true,
      () => (forget({ expired: true }), false),
    )
    .finally(() => (renewing = null));
  return renewing;
}

async function take(form) {
  const { client_id, token_url, token } = session.config.oidc;
  const answer = await fetch(token_url, {
    method: "POST",
    body: new URLSearchParams({ ...form, client_id }),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok || typeof told[token] !== "string") {
    throw new Error(
      `The identity provider gives no token: ${told.error_description ?? told.error ?? answer.status}.`,
    );
  }
  keep(told[token], { refresh: told.refresh_token ?? session.refresh, inTab: true });
}

const random = (length) => base64url(crypto.getRandomValues(new Uint8Array(length)));

function base64url(raw) {
  return btoa(String.fromCharCode(...raw))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
