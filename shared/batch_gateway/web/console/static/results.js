// Result lines of a batch, read while it runs: each once, in the order in which they came.

import { fetched, lines } from "./api.js";

const PAGE = 2000;
const MOST_BYTES = 300 * 1024 * 1024; // what a tab keeps; beyond it the file is to be downloaded

/** What a line says, without keeping its objects. */
export function read(raw) {
  const line = JSON.parse(raw);
  const status = line.response?.status_code ?? null;
  const failed = line.error != null || status === null || status >= 400;
  const body = line.response?.body;
  const error = line.error ?? body?.error ?? (typeof body === "object" ? body : null) ?? {};
  return {
    custom_id: String(line.custom_id ?? ""),
    status,
    failed,
    code: failed ? String(error.code ?? error.type ?? status ?? "error") : null,
    message: failed ? String(error.message ?? (typeof body === "string" ? body : "") ?? "") : null,
    raw,
  };
}

export class Results {
  constructor(app, id) {
    Object.assign(this, { app, id, rows: [], done: false, full: false, error: null, bytes: 0, version: 0 });
    this.cursor = null;
    this.kept = 0; // rows up to the last cursor; those after it come again when a connection breaks
    this.controller = null;
  }

  start() {
    if (this.controller !== null) return this;
    this.controller = new AbortController();
    this.run(this.controller.signal);
    return this;
  }

  stop() {
    this.controller?.abort();
    this.controller = null;
  }

  async run(signal) {
    let pause = 500;
    while (!this.done && !this.full && !signal.aborted) {
      try {
        if (await this.page(signal)) await this.follow(signal);
        this.error = null;
        pause = 500;
      } catch (error) {
        if (signal.aborted) return;
        this.rows.length = this.kept;
        this.error = error;
        if (error.status >= 400 && error.status < 500) return this.changed();
        this.changed();
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(10_000, pause * 2);
      }
    }
    this.changed();
  }

  /** Read one page of what is there. Whether that was all for now. */
  async page(signal) {
    const answer = await fetched("GET", `batches/${this.id}/results`, {
      query: { limit: PAGE, after: this.cursor },
      signal,
    });
    const found = (await answer.text()).split("\n").filter(Boolean);
    for (const raw of found) this.add(raw);
    this.keep(answer.headers.get("x-next-cursor"));
    this.done = answer.headers.get("x-has-more") === "false";
    this.changed();
    return found.length === 0 && !this.done;
  }

  async follow(signal) {
    for await (const raw of lines(`batches/${this.id}/results`, {
      query: { follow: "true", after: this.cursor },
      signal,
    })) {
      const standing = raw.startsWith('{"cursor"') ? JSON.parse(raw) : null;
      if (standing) this.keep(standing.cursor);
      else if (raw) this.add(raw);
      if (this.full) return;
      this.changed();
    }
  }

  add(raw) {
    this.rows.push(read(raw));
    this.bytes += raw.length;
    this.full = this.bytes > MOST_BYTES;
  }

  keep(cursor) {
    this.cursor = cursor;
    this.kept = this.rows.length;
  }

  changed() {
    this.version += 1;
    this.app.refresh();
  }
}

/** Failed lines by their code, the most frequent first. */
export function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    if (!row.failed) continue;
    const group = groups.get(row.code) ?? {
      code: row.code,
      count: 0,
      messages: new Map(),
      examples: [],
      statuses: new Set(),
    };
    group.count += 1;
    group.statuses.add(row.status);
    if (group.messages.size < 20 || group.messages.has(row.message))
      group.messages.set(row.message, (group.messages.get(row.message) ?? 0) + 1);
    if (group.examples.length < 5) group.examples.push(row);
    groups.set(row.code, group);
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

/** The text that a model answered, as far as the answer is one that is known. */
export function answered(row) {
  const body = JSON.parse(row.raw).response?.body;
  if (row.failed) return row.message;
  if (typeof body !== "object" || body === null) return String(body ?? "");
  const choice = body.choices?.[0];
  const text =
    choice?.message?.content ??
    choice?.text ??
    body.output
      ?.flatMap?.((item) => item.content ?? [])
      .map((part) => part.text ?? "")
      .join("");
  if (typeof text === "string" && text) return text;
  if (Array.isArray(body.data?.[0]?.embedding))
    return `embedding of ${body.data[0].embedding.length} numbers`;
  return JSON.stringify(body.results ?? body.data ?? choice?.message ?? body);
}
