// What went wrong: errors of requests by their code, and bad lines of the input with a way to mend them.

import { lines, post } from "../api.js";
import { h } from "../dom.js";
import { count, plural } from "../format.js";
import { grouped, read } from "../results.js";
import { strict } from "../session.js";
import { scrolling, table } from "../tables.js";
import { callout, empty, ended, loading, problem } from "../ui.js";
import { Mending } from "./mending.js";

const ANSWERS = "Their answers are in the tenant's error file, which operators do not see.";

export class Errors {
  constructor(app, one, results) {
    Object.assign(this, { app, one, results, rows: null, error: null, mending: null, groups: [], key: "" });
  }

  opened() {
    this.shown = true;
    this.begin();
  }

  closed() {
    this.shown = false;
    this.controller?.abort();
    this.mending?.stop();
  }

  /** Read what there is to read, once the batch is known. */
  begin() {
    const batch = this.one.value;
    if (!this.shown || batch === null) return;
    const invalid = batch.errors?.data.some((error) => error.line !== null);
    if (invalid && this.mending === null) this.mending = new Mending(this.app, batch).start();
    if (ended(batch)) {
      if (batch.error_file_id && this.rows === null) this.file(batch.error_file_id);
    } else if (this.results && batch.request_counts.failed > 0) {
      this.results.start();
    }
  }

  async file(id) {
    this.rows = [];
    this.controller = new AbortController();
    try {
      for await (const raw of lines(`files/${id}/content`, { signal: this.controller.signal })) {
        if (raw) this.rows.push(read(raw));
        if (this.rows.length % 2000 === 0) this.app.refresh();
      }
      this.whole = true;
    } catch (error) {
      if (error.name === "AbortError") this.rows = null;
      else this.error = error;
    }
    this.app.refresh();
  }

  view(batch) {
    this.begin();
    const rows = this.rows ?? this.results?.rows ?? [];
    const key = `${rows.length} ${this.rows === null}`;
    if (key !== this.key) Object.assign(this, { key, groups: grouped(rows) });
    const told = batch.errors?.data ?? [];
    if (!told.length && !batch.error_file_id && !batch.request_counts.failed) {
      return empty("No errors", ended(batch) ? "Every request succeeded." : "Nothing has failed so far.");
    }
    return [
      told.length ? this.invalid(batch, told) : null,
      this.error &&
        problem(this.error, () => Object.assign(this, { rows: null, error: null }) && this.begin()),
      this.groups.map((group) => this.group(batch, group)),
      !this.groups.length && !told.length && !this.error ? loading() : null,
    ];
  }

  invalid(batch, told) {
    const general = told.filter((error) => error.line === null);
    return h(
      "section",
      { class: "card" },
      h("h2", null, batch.status === "failed" ? "Why the batch failed" : "Why the batch was stopped"),
      general.map((error, at) => callout("bad", error.code, h("p", { key: at }, error.message))),
      this.mending?.view(told.filter((error) => error.line !== null)),
    );
  }

  group(batch, group) {
    const [message] = [...group.messages].sort(([, a], [, b]) => b - a)[0];
    return h(
      "section",
      { class: "card error-group", key: group.code },
      h(
        "div",
        { class: "heading" },
        h(
          "h2",
          null,
          h("code", null, group.code),
          h("span", { class: "dim" }, ` ${plural(group.count, "request")}`),
        ),
        h(
          "div",
          { class: "actions" },
          strict()
            ? null
            : h(
                "a",
                {
                  class: "button",
                  href: `#/batches/${batch.id}/results?code=${encodeURIComponent(group.code)}`,
                },
                "Show them",
              ),
          ended(batch) && !strict()
            ? h("button", { onclick: () => this.retry(batch, group) }, `Retry these ${count(group.count)}`)
            : null,
        ),
      ),
      h("p", null, message || "No message."),
      h(
        "p",
        { class: "dim" },
        `${group.messages.size > 1 ? `${group.messages.size}${group.messages.size >= 20 ? " or more" : ""} different messages. ` : ""}For example ${group.examples.map((row) => row.custom_id).join(", ")}`,
      ),
    );
  }

  async retry(batch, group) {
    const made = await this.app.attempt(() => post(`batches/${batch.id}/retry`, { errors: [group.code] }));
    if (!made) return;
    this.app.toast(`A new batch runs these ${count(group.count)} requests`);
    this.app.go(`#/batches/${made.id}`);
  }
}

/** What the batch itself says of its errors; the lines and the answers are its tenant's. */
export class ErrorsTold {
  view(batch) {
    const told = batch.errors?.data ?? [];
    const { failed } = batch.request_counts;
    if (!told.length && !failed) return empty("No errors", "Nothing has failed.");
    return [
      failed ? callout("warn", `${plural(failed, "request")} failed`, h("p", null, ANSWERS)) : null,
      told.length
        ? h(
            "section",
            { class: "card" },
            h("h2", null, batch.status === "failed" ? "Why the batch failed" : "Why the batch was stopped"),
            scrolling(
              "Errors",
              table({
                plain: true,
                columns: [
                  ["Line", "num"],
                  ["Code", ""],
                  ["Message", "break"],
                ],
                rows: told.map((error, at) => ({
                  key: at,
                  cells: [error.line ?? "–", h("code", null, error.code), error.message],
                })),
              }),
            ),
          )
        : null,
    ];
  }
}
