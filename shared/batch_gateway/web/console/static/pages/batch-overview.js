// The overview of a batch: its options, progress over time, latency of answers, and usage.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, duration, instant, money, now } from "../format.js";
import { poll } from "../live.js";
import { strict } from "../session.js";
import { scrolling, table } from "../tables.js";
import { callout, ended, facts } from "../ui.js";
import { latencies, speed } from "./batch-charts.js";

export class Overview {
  constructor(app, one, id, place) {
    Object.assign(this, { app, one, id, place, analytics: null, error: null, polling: null });
  }

  opened() {
    if (this.polling !== null || strict()) return;
    this.polling = poll(
      (signal) => this.read(signal),
      () => (this.analytics && ended(this.analytics) ? 60_000 : 4000),
    );
  }

  closed() {
    this.polling?.stop();
    this.polling = null;
  }

  /** The batch has changed: what is known of it is read anew when it has ended. */
  seen(batch) {
    if (ended(batch) && this.analytics && !ended(this.analytics)) this.polling?.now();
  }

  async read(signal) {
    try {
      this.analytics = await get(
        `${this.place.api}/${encodeURIComponent(this.id)}/analytics`,
        {},
        signal,
      );
      this.error = null;
    } catch (error) {
      if (error.name !== "AbortError") this.error = error;
      throw error;
    } finally {
      this.app.refresh();
    }
  }

  view(batch) {
    const known = this.analytics;
    return h(
      "div",
      { class: "columns" },
      h(
        "div",
        { class: "stack" },
        h("section", { class: "card" }, h("h2", null, "Time line"), timeline(batch), known && speed(known)),
        known && known.latency.call.count ? latencies(known) : null,
        known && (known.retries.length || known.aborts.length) ? troubles(known) : null,
        this.error && !known ? callout("warn", "No analytics", h("p", null, this.error.message)) : null,
      ),
      h(
        "div",
        { class: "stack" },
        h("section", { class: "card" }, h("h2", null, "Details"), details(batch, known, this.place)),
        known && known.models.length ? models(known) : null,
      ),
    );
  }
}

const PHASES = [
  ["Created", "created_at"],
  ["Running", "in_progress_at"],
  ["Finalizing", "finalizing_at"],
  ["Cancelling", "cancelling_at"],
];
const ENDS = [
  ["Completed", "completed_at"],
  ["Failed", "failed_at"],
  ["Expired", "expired_at"],
  ["Cancelled", "cancelled_at"],
];

/** The states that a batch has been in, with the instants from which on it was. */
export function steps(batch) {
  return [...PHASES, ...ENDS]
    .filter(([, name]) => batch[name] !== null)
    .map(([text, name]) => ({ text, at: batch[name], last: ENDS.some(([, end]) => end === name) }))
    .sort((a, b) => a.at - b.at || Number(a.last) - Number(b.last));
}

function timeline(batch) {
  const found = steps(batch);
  return h(
    "ol",
    { class: "timeline" },
    found.map((step, at) => {
      const going = at === found.length - 1;
      const until = found[at + 1]?.at ?? now();
      return h(
        "li",
        { key: step.text, class: step.last ? "last" : null },
        h("strong", null, step.text),
        h("span", null, instant(step.at)),
        step.last
          ? null
          : h(
              "span",
              { class: "dim" },
              going ? `for ${duration(until - step.at)} now` : duration(until - step.at),
            ),
      );
    }),
  );
}

function troubles({ retries, aborts }) {
  const list = (found) =>
    found.map(({ reason, count: n }) => `${reason.replaceAll("_", " ")}: ${count(n)}`).join(", ");
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Calls that were made again"),
    facts([
      ["Retried", retries.length ? list(retries) : null],
      ["Ended by the service", aborts.length ? list(aborts) : null],
    ]),
  );
}

function models({ models: found, cost }) {
  const columns = [["Model", "break"], ["Requests", "num"], ["Tokens", "num"], cost && ["Cost", "num"]];
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Models"),
    scrolling(
      "Models",
      table({
        plain: true,
        columns: columns.filter(Boolean),
        rows: found.map((one) => ({
          key: one.model,
          cells: [
            one.model || "none named",
            count(one.request_counts.completed + one.request_counts.failed),
            count(one.usage.total_tokens),
            cost && money(one.cost),
          ].slice(0, cost ? 4 : 3),
        })),
      }),
    ),
  );
}

function details(batch, known, { page }) {
  const input = h("code", null, batch.input_file_id);
  const other = (id) => id && h("a", { href: `#/${page}/${id}` }, h("code", null, id));
  const usage = batch.usage;
  const tokens = batch.estimated_tokens;
  const more = (n, text) => (n ? `, ${count(n)} of them ${text}` : "");
  return facts([
    ["Tenant", batch.tenant],
    ["Input", batch.tenant ? input : h("a", { href: `#/files?id=${batch.input_file_id}` }, input)],
    ["Completion window", `${batch.completion_window}, until ${instant(batch.expires_at)}`],
    ["Priority", batch.priority === undefined ? null : `${batch.priority} of 0 (first) to 9 (last)`],
    [
      "Input tokens",
      usage && `${count(usage.input_tokens)}${more(usage.input_tokens_details.cached_tokens, "cached")}`,
    ],
    [
      "Output tokens",
      usage &&
        `${count(usage.output_tokens)}${more(usage.output_tokens_details.reasoning_tokens, "reasoning")}`,
    ],
    ["Cost", known?.cost && money(known.cost)],
    [
      "Estimated tokens",
      tokens &&
        Object.entries(tokens).map(([model, n]) =>
          h("div", { key: model }, `${model || "no model"}: ${count(n)}`),
        ),
    ],
    ["Estimated cost", batch.estimated_cost && money(batch.estimated_cost)],
    ["Estimated duration", batch.estimated_duration_s == null ? null : duration(batch.estimated_duration_s)],
    ["Bad lines", batch.on_invalid_line === "skip" ? "become errors; the rest runs" : null],
    ["Identical requests", batch.deduplicate ? shared(batch) : null],
    ["Budget", budget(batch)],
    ["Retry of", other(batch.retry_of)],
    ["Carried over", batch.carried_over == null ? null : `${count(batch.carried_over)} answers`],
    ["After", other(batch.after)],
    ...Object.entries(batch.metadata ?? {}).map(([key, value]) => [`Note: ${key}`, value]),
  ]);
}

function shared({ deduplicated, saved_tokens }) {
  return `run once${deduplicated ? `: ${count(deduplicated)} shared` : ""}${saved_tokens ? `, ${count(saved_tokens)} tokens saved` : ""}`;
}

function budget(batch) {
  const parts = [];
  if (batch.max_errors != null) parts.push(`${count(batch.max_errors)} errors`);
  if (batch.max_error_rate != null) parts.push(`${batch.max_error_rate * 100} % errors`);
  if (batch.max_total_tokens != null) parts.push(`${count(batch.max_total_tokens)} tokens`);
  if (batch.max_cost != null) parts.push(`a cost of ${batch.max_cost}`);
  return parts.length ? `at most ${parts.join(", ")}` : null;
}
