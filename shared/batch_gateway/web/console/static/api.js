// The public API, as any client calls it.

import { forget, headers, needsToken, session } from "./session.js";
import { renewed } from "./oidc.js";

const ROOT = new URL("../v1/", location.href.replace(/[?#].*/, "")).href;

/** What the service answered instead of what was asked for; status 0: it could not be reached. */
export class ApiError extends Error {
  constructor(status, message, { code = null, param = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

export const link = { up: true, changed: () => {} }; // whether the service can be reached

function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** The raw answer, whatever it is about. Raises ApiError. */
export async function fetched(method, path, { query, body, signal } = {}) {
  let answer = await sent(method, path, { query, body, signal });
  if (answer.status === 401 && (await renewed())) answer = await sent(method, path, { query, body, signal });
  if (answer.ok) return answer;
  throw await failure(answer);
}

async function sent(method, path, { query, body, signal }) {
  const given = { ...headers() };
  if (body !== undefined && !(body instanceof FormData)) given["content-type"] = "application/json";
  if (method === "POST") given["idempotency-key"] = unique();
  try {
    const answer = await fetch(address(path, query), {
      method,
      headers: given,
      body: body === undefined || body instanceof FormData ? body : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
    });
    reached(true);
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reached(false);
    throw new ApiError(0, "The service cannot be reached.");
  }
}

async function failure(answer) {
  const text = await answer.text().catch(() => "");
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    error = { message: text.slice(0, 300) };
  }
  if (answer.status === 401 && needsToken() && session.token !== null) {
    forget({ expired: true });
    link.changed();
  }
  return new ApiError(answer.status, error.message || `The service answers ${answer.status}.`, error);
}

function reached(up) {
  if (link.up === up) return;
  link.up = up;
  link.changed();
}

/** Sixteen random bytes; crypto.randomUUID is only there on secure origins. */
function unique() {
  return `console-${[...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
}

export const get = async (path, query, signal) => (await fetched("GET", path, { query, signal })).json();
export const post = async (path, body = {}) => (await fetched("POST", path, { body })).json();
export const del = async (path) => (await fetched("DELETE", path)).json();

/** All items of a listing, page by page, up to `most`. */
export async function all(path, { most = 1000, limit = 100, ...query } = {}) {
  const found = [];
  let after = null;
  while (found.length < most) {
    const page = await get(path, { ...query, limit, after });
    found.push(...page.data);
    if (!page.has_more || !page.data.length) break;
    after = page.data.at(-1).id;
  }
  return found;
}

/** The lines of an answer as they come, empty ones too. Stop by breaking the loop, or by the signal. */
export async function* lines(path, { query, signal } = {}) {
  const answer = await fetched("GET", path, { query, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts;
    }
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Upload a file for batches; `progress` is called with a share from 0 to 1. */
export function upload(file, { progress, signal }) {
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    request.open("POST", address("files"));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = async () => {
      reached(true);
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(await failure(new Response(request.responseText, { status: request.status })));
    };
    request.onerror = () => {
      reached(false);
      reject(new ApiError(0, "The service cannot be reached."));
    };
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Save a file of the service on the user's disk. */
export async function download(id, name) {
  const path = `files/${encodeURIComponent(id)}/content`;
  if (session.token === null) {
    click(address(path).href, name); // the browser streams it
    return;
  }
  const content = await (await fetched("GET", path)).blob();
  save(content, name);
}

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  click(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function click(href, name) {
  const anchor = document.createElement("a");
  anchor.href = href;
  anchor.download = name;
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
}
