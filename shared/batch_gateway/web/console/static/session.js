// The session: an API key or token of the user, kept in memory or for as long as the tab is open.
//
// It travels in the Authorization header only, so no other page can use it.

const KEY = "batch-gateway-key";
const REFRESH = "batch-gateway-refresh";

export const session = {
  config: null, // what /console/config.json says
  token: null, // null: none is held
  refresh: null, // a refresh token of the identity provider
  expired: false, // whether the service refused what was held
};

/** Read the configuration, and what the tab keeps. Raises when the service does not answer. */
export async function start() {
  const answer = await fetch("config.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`The service answers ${answer.status}.`);
  session.config = await answer.json();
  session.token = sessionStorage.getItem(KEY);
  session.refresh = sessionStorage.getItem(REFRESH);
}

/** Whether the service identifies its users by a credential that the page must send. */
export const needsToken = () => ["api-key", "oidc"].includes(session.config.auth);
export const signedIn = () => !needsToken() || session.token !== null;
export const strict = () => session.config.mode === "strict";

/** Whether the user may look at a tenant's batches; true until it is known. */
export const reads = (app) => app.session?.scopes.includes("read") ?? true;

export function keep(token, { refresh = null, inTab }) {
  session.token = token;
  session.refresh = refresh;
  session.expired = false;
  store(KEY, inTab ? token : null);
  store(REFRESH, inTab ? refresh : null);
}

export function forget({ expired = false } = {}) {
  session.token = null;
  session.refresh = null;
  session.expired = expired;
  store(KEY, null);
  store(REFRESH, null);
}

function store(name, text) {
  if (text === null) sessionStorage.removeItem(name);
  else sessionStorage.setItem(name, text);
}

export const headers = () => (session.token === null ? {} : { authorization: `Bearer ${session.token}` });
