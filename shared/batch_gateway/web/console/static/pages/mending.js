// Bad lines of an input file: shown as they are, edited, and put into a corrected file.

import { lines, upload } from "../api.js";
import { h } from "../dom.js";
import { count, plural } from "../format.js";
import { loading, problem } from "../ui.js";

const MOST = 100; // lines that can be edited in a page
const LONGEST = 20_000; // characters of a line that can be edited

export class Mending {
  constructor(app, batch) {
    Object.assign(this, {
      app,
      batch,
      texts: new Map(),
      edited: new Map(),
      out: new Set(),
      ready: false,
      error: null,
      busy: false,
    });
    const told = batch.errors.data.filter((error) => error.line !== null).map((error) => error.line);
    this.bad = new Set(told);
    this.shown = new Set([...this.bad].sort((a, b) => a - b).slice(0, MOST));
    this.controller = new AbortController();
  }

  start() {
    this.read();
    return this;
  }

  stop() {
    this.controller.abort();
  }

  content() {
    return lines(`files/${this.batch.input_file_id}/content`, { signal: this.controller.signal });
  }

  async read() {
    const last = Math.max(...this.shown);
    let number = 0;
    try {
      for await (const text of this.content()) {
        number += 1;
        if (this.shown.has(number)) this.texts.set(number, text);
        if (number >= last) break;
      }
      this.ready = true;
    } catch (error) {
      this.error = error;
    }
    this.app.refresh();
  }

  view(told) {
    if (!told.length) return null;
    const by = new Map();
    for (const error of told) by.set(error.line, [...(by.get(error.line) ?? []), error]);
    return [
      h(
        "p",
        null,
        `${plural(this.bad.size, "line")} of the input cannot be run. Correct them here or leave them out; the other lines stay as they are.`,
      ),
      this.error ? problem(this.error) : this.ready ? null : loading(3),
      h(
        "ol",
        { class: "bad-lines" },
        [...by].slice(0, MOST).map(([line, errors]) => this.line(line, errors)),
      ),
      by.size > MOST
        ? h(
            "p",
            { class: "dim" },
            `And ${count(by.size - MOST)} more lines, which a corrected file leaves out.`,
          )
        : null,
      this.ready &&
        h(
          "div",
          { class: "actions" },
          h(
            "button",
            { class: "primary", disabled: this.busy, onclick: () => this.save() },
            this.busy ? "Saving …" : "Check the corrected file",
          ),
          h(
            "button",
            { disabled: this.busy, onclick: () => this.leaveOut() },
            `Leave out all ${count(this.bad.size)}`,
          ),
        ),
    ];
  }

  line(line, errors) {
    const text = this.edited.get(line) ?? this.texts.get(line);
    const out = this.out.has(line);
    const id = `line-${line}`;
    return h(
      "li",
      { key: line },
      h("label", { for: id }, h("strong", null, `Line ${count(line)}`)),
      errors.map((error, at) =>
        h("p", { key: at, class: "failed" }, h("code", null, error.code), " ", error.message),
      ),
      text === undefined || text.length > LONGEST
        ? this.ready
          ? h(
              "p",
              { class: "dim" },
              "This line is too long to be edited here; a corrected file leaves it out.",
            )
          : null
        : [
            h("textarea", {
              id,
              rows: String(Math.min(8, 1 + Math.ceil(text.length / 90))),
              spellcheck: "false",
              disabled: out,
              value: text,
              oninput: (event) => (this.edited.set(line, event.target.value), this.app.refresh()),
            }),
            out ? null : h("p", { class: "dim", role: "status" }, judged(text)),
            h(
              "label",
              { class: "check" },
              h("input", {
                type: "checkbox",
                checked: out,
                onchange: (event) => (
                  event.target.checked ? this.out.add(line) : this.out.delete(line),
                  this.app.refresh()
                ),
              }),
              "Leave this line out",
            ),
          ],
    );
  }

  leaveOut() {
    for (const line of this.bad) this.out.add(line);
    return this.save();
  }

  /** Make a file of the good lines and the corrected ones, and check it on the page for new batches. */
  async save() {
    this.busy = true;
    this.app.refresh();
    const file = await this.app.attempt(async () => {
      const corrected = new File(await this.corrected(), `corrected-${this.batch.id}.jsonl`, {
        type: "application/jsonl",
      });
      return upload(corrected, { progress: () => {}, signal: this.controller.signal });
    });
    this.busy = false;
    this.app.refresh();
    if (!file) return;
    const query = new URLSearchParams({
      file: file.id,
      endpoint: this.batch.endpoint,
      window: this.batch.completion_window,
    });
    this.app.go(`#/new?${query}`);
  }

  async corrected() {
    const parts = [];
    let number = 0;
    for await (const text of this.content()) {
      number += 1;
      if (!this.bad.has(number)) {
        parts.push(text, "\n");
        continue;
      }
      const mended =
        this.edited.get(number) ?? (this.shown.has(number) && text.length <= LONGEST ? text : undefined);
      // One line of a file is one line: an editor may have wrapped it.
      if (mended !== undefined && !this.out.has(number)) parts.push(mended.replace(/[\r\n]+/g, " "), "\n");
    }
    return parts;
  }
}

/** What the browser can say of a line; the service judges the rest. */
function judged(text) {
  try {
    const line = JSON.parse(text);
    const missing = ["custom_id", "method", "url", "body"].filter((name) => !(name in line));
    return missing.length
      ? `Missing: ${missing.join(", ")}`
      : "This is a request as far as the browser can tell.";
  } catch (error) {
    return `Not JSON: ${error.message}`;
  }
}
