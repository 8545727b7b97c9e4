// The answers of a batch as they come, with search.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count } from "../format.js";
import { answered } from "../results.js";
import { callout, dialog, empty, loading, problem, select } from "../ui.js";
import { LongList } from "../virtual.js";

export class ResultList {
  constructor(app, results) {
    Object.assign(this, {
      app,
      results,
      text: "",
      kind: "all",
      code: null,
      open: null,
      found: null,
      key: "",
    });
    this.list = new LongList(app, { label: "Results", height: 44 });
    this.previews = new Map();
  }

  opened(query) {
    this.results?.start();
    if (query.get("code") !== null) Object.assign(this, { code: query.get("code"), kind: "failed" });
  }

  view(batch) {
    const { results } = this;
    const rows = this.matching();
    return [
      h(
        "form",
        { class: "filters", role: "search", onsubmit: (event) => (event.preventDefault(), this.look(batch)) },
        h("input", {
          type: "search",
          placeholder: "Search in ids and answers",
          "aria-label": "Search in ids and answers",
          value: this.text,
          oninput: (event) => this.wait(event.target.value),
        }),
        select(
          [
            ["all", "All"],
            ["completed", "Succeeded"],
            ["failed", "Failed"],
          ],
          this.kind,
          (kind) => (Object.assign(this, { kind, code: null }), this.app.refresh()),
          { "aria-label": "Outcome" },
        ),
        this.code !== null &&
          h(
            "button",
            { type: "button", class: "chip", onclick: () => ((this.code = null), this.app.refresh()) },
            `${this.code} ×`,
          ),
        h(
          "span",
          { class: "dim", role: "status" },
          `${count(rows.length)} of ${count(results.rows.length)}${results.done ? "" : results.error ? "" : ", more to come"}`,
        ),
      ),
      results.full &&
        callout(
          "warn",
          "Too much to show",
          h("p", null, "This tab keeps no more results. Download the file for the rest."),
        ),
      results.error && results.error.status >= 400 ? problem(results.error) : null,
      rows.length
        ? this.list.view(
            rows.length,
            (at) => this.row(rows[at]),
            (at) => this.show(rows[at]),
          )
        : this.nothing(batch),
      this.open && this.detail(this.open),
      this.found && this.pending(this.found),
    ];
  }

  nothing(batch) {
    const { results } = this;
    if (results.error?.status >= 400) return null;
    if (this.text || this.kind !== "all")
      return h(
        "div",
        { class: "state" },
        h("h2", null, "Nothing matches"),
        this.text && h("button", { onclick: () => this.look(batch) }, "Look up this custom_id"),
      );
    if (results.done) return empty("No results", "The batch ended without any answer.");
    return results.version
      ? empty("No results yet", "Answers appear here as soon as the first requests are done.")
      : loading();
  }

  /** The rows that match. When only new rows came, filtering continues where it stopped. */
  matching() {
    const { rows } = this.results;
    const key = JSON.stringify([this.text, this.kind, this.code]);
    if (this.key !== key || this.seen > rows.length) Object.assign(this, { key, seen: 0, kept: [] });
    const text = this.text.toLowerCase();
    const escaped = JSON.stringify(text).slice(1, -1);
    for (; this.seen < rows.length; this.seen += 1) {
      const row = rows[this.seen];
      if (this.kind !== "all" && row.failed !== (this.kind === "failed")) continue;
      if (this.code !== null && row.code !== this.code) continue;
      if (text && !row.custom_id.toLowerCase().includes(text) && !row.raw.toLowerCase().includes(escaped))
        continue;
      this.kept.push(row);
    }
    return this.kept;
  }

  wait(text) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => ((this.text = text), this.app.refresh()), 150);
  }

  row(row) {
    return [
      h(
        "span",
        {
          class: row.failed ? "dot is-failed" : "dot is-completed",
          title: row.failed ? "failed" : "succeeded",
        },
        h("span", { class: "hidden" }, row.failed ? "failed" : "succeeded"),
      ),
      h("span", { class: "id" }, row.custom_id),
      row.failed ? h("span", { class: "chip" }, row.code) : null,
      h("span", { class: "text" }, this.preview(row)),
    ];
  }

  preview(row) {
    let text = this.previews.get(row);
    if (text === undefined) {
      if (this.previews.size > 2000) this.previews.clear();
      text = answered(row).slice(0, 300);
      this.previews.set(row, text);
    }
    return text;
  }

  show(row) {
    this.open = row;
    this.app.refresh();
  }

  detail(row) {
    return dialog(
      { title: row.custom_id || "Result", wide: true, onclose: () => this.show(null) },
      row.failed
        ? callout("bad", `${row.code}${row.status ? ` (HTTP ${row.status})` : ""}`, h("p", null, row.message))
        : h("pre", { class: "answer", tabindex: "0" }, answered(row)),
      h("h3", null, "The line"),
      h("pre", { tabindex: "0" }, JSON.stringify(JSON.parse(row.raw), null, 2)),
    );
  }

  /** Ask the service for one request, whether it has a result or not. */
  async look(batch) {
    const text = this.text.trim();
    if (!text || this.matching().length) return;
    this.found =
      (await this.app.attempt(() => get(`batches/${batch.id}/requests`, { custom_id: text }))) ?? null;
    this.app.refresh();
  }

  pending(found) {
    return dialog(
      { title: found.custom_id, wide: true, onclose: () => ((this.found = null), this.app.refresh()) },
      h("p", null, `This request is ${found.status}.`),
      found.result && h("pre", { tabindex: "0" }, JSON.stringify(found.result, null, 2)),
    );
  }
}
