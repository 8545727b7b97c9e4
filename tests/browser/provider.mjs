// An identity provider: authorization code flow with PKCE for one public client, as RFC 6749 and 7636 have it.

import { createHash, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";

const CLIENT = "console";
const AUDIENCE = "batches";

/** Serve on `port`. `asked` collects what went wrong with requests, `lives` is how long a token is good, in seconds. */
export async function provider(port) {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const issuer = `http://127.0.0.1:${port}`;
  const state = { refused: [], tokens: 0, lives: 300, refuse: null, redirect: null };
  const codes = new Map(); // code -> { challenge, redirect }; good for one use
  const refreshes = new Set(); // each good for one use

  function token() {
    state.tokens += 1;
    const now = Math.floor(Date.now() / 1000);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ alg: "RS256", kid: "k1" })}.${part({ iss: issuer, aud: AUDIENCE, sub: "ada", iat: now, exp: now + state.lives })}`;
    const refresh = randomBytes(16).toString("hex");
    refreshes.add(refresh);
    const signed = createSign("RSA-SHA256").update(text).sign(privateKey).toString("base64url");
    return {
      access_token: `${text}.${signed}`,
      token_type: "Bearer",
      expires_in: state.lives,
      refresh_token: refresh,
    };
  }

  /** What a form at the token endpoint gets: [status, body]. */
  function granted(form) {
    const invalid = (error) => (state.refused.push(error), [400, { error }]);
    if (form.get("client_id") !== CLIENT) return invalid("invalid_client");
    if (form.get("grant_type") === "refresh_token") {
      return refreshes.delete(form.get("refresh_token")) ? [200, token()] : invalid("invalid_grant");
    }
    if (form.get("grant_type") !== "authorization_code") return invalid("unsupported_grant_type");
    const code = codes.get(form.get("code"));
    codes.delete(form.get("code"));
    const verifier = form.get("code_verifier") ?? "";
    if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) return invalid("invalid_request");
    const challenge = createHash("sha256").update(verifier).digest("base64url");
    if (!code || code.challenge !== challenge || code.redirect !== form.get("redirect_uri"))
      return invalid("invalid_grant");
    return [200, token()];
  }

  function authorized(query) {
    const known = query.get("client_id") === CLIENT && query.get("redirect_uri") === state.redirect;
    const flow = query.get("response_type") === "code" && query.get("code_challenge_method") === "S256";
    if (!known || !flow || !query.get("code_challenge") || !query.get("scope")?.split(" ").includes("openid"))
      return null;
    const back = new URL(state.redirect);
    back.searchParams.set("state", query.get("state") ?? "");
    if (state.refuse) {
      back.searchParams.set("error", state.refuse);
      return back;
    }
    const code = randomBytes(16).toString("hex");
    codes.set(code, { challenge: query.get("code_challenge"), redirect: state.redirect });
    back.searchParams.set("code", code);
    return back;
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, issuer);
    if (url.pathname === "/keys") {
      const key = { ...publicKey.export({ format: "jwk" }), kid: "k1", use: "sig", alg: "RS256" };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ keys: [key] }));
    } else if (url.pathname === "/authorize") {
      const back = authorized(url.searchParams);
      if (back === null) state.refused.push(`authorize ${url.search}`);
      response.writeHead(back ? 302 : 400, back ? { location: back.href } : {}).end();
    } else if (url.pathname === "/token" && request.method === "POST") {
      let text = "";
      for await (const chunk of request) text += chunk;
      const [status, body] = granted(new URLSearchParams(text));
      const allowed = { "access-control-allow-origin": new URL(state.redirect).origin };
      response
        .writeHead(status, { ...allowed, "content-type": "application/json", "cache-control": "no-store" })
        .end(JSON.stringify(body));
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    state,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}
