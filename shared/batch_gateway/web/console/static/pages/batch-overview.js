// What a batch is, how it went on in time, how fast the model answered, and what it used.

import { get } from "../api.js";
import { bars, chart } from "../chart.js";
import { h } from "../dom.js";
import { count, duration, instant, milliseconds, money, now, plural, short } from "../format.js";
import { poll } from "../live.js";
import { strict } from "../session.js";
import { callout, ended, facts } from "../ui.js";

export class Overview {
  constructor(app, one, id) {
    Object.assign(this, { app, one, id, analytics: null, error: null, polling: null });
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
      this.analytics = await get(`batches/${encodeURIComponent(this.id)}/analytics`, {}, signal);
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
        h("section", { class: "card" }, h("h2", null, "Details"), details(batch, known)),
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

function timeline(batch) {
  const steps = [...PHASES, ...ENDS]
    .filter(([, name]) => batch[name] !== null)
    .map(([text, name]) => ({ text, at: batch[name], last: ENDS.some(([, end]) => end === name) }));
  steps.sort((a, b) => a.at - b.at || Number(a.last) - Number(b.last));
  return h(
    "ol",
    { class: "timeline" },
    steps.map((step, at) => {
      const going = at === steps.length - 1;
      const until = steps[at + 1]?.at ?? now();
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

/** Requests and tokens per minute, by the intervals in which they were finished. */
function speed({ timeline: { interval_s: width, points } }) {
  if (!points.length) return null;
  // An interval that has not ended yet has had less time.
  const rate = (point, n) => (60 * n) / Math.max(1, Math.min(width, now() - point.start_time));
  if (points.length < 3) {
    const items = (of) =>
      points.map((point) => ({ name: instant(point.start_time), value: rate(point, of(point)) }));
    return [
      bars({ label: "Requests per minute", items: items((p) => p.completed + p.failed), format: short }),
      bars({
        label: "Tokens per minute",
        items: items((p) => p.input_tokens + p.output_tokens),
        format: short,
      }),
    ];
  }
  const filled = withGaps(points, width);
  const line = (name, of) => ({ name, points: filled.map((p) => [p.start_time, rate(p, of(p))]) });
  return [
    chart({
      label: "Requests per minute",
      series: [line("succeeded", (p) => p.completed), line("failed", (p) => p.failed)],
      format: short,
    }),
    chart({
      label: "Tokens per minute",
      series: [line("input", (p) => p.input_tokens), line("output", (p) => p.output_tokens)],
      format: short,
    }),
  ];
}

const nothing = { completed: 0, failed: 0, input_tokens: 0, output_tokens: 0 };

/** The points with zeros at both ends of each gap: intervals in which nothing was finished are left out. */
function withGaps(points, width) {
  const filled = [];
  for (const point of points) {
    const before = filled.at(-1);
    if (before && point.start_time - before.start_time > width) {
      filled.push({ ...nothing, start_time: before.start_time + width });
      if (point.start_time - before.start_time > 2 * width)
        filled.push({ ...nothing, start_time: point.start_time - width });
    }
    filled.push(point);
  }
  return filled;
}

function latencies({ latency: { call, first_token: first } }) {
  const row = (name, one) =>
    one.count
      ? h(
          "tr",
          { key: name },
          h("th", { scope: "row" }, name),
          [one.mean_ms, one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms].map((ms) =>
            h("td", { class: "num" }, milliseconds(ms)),
          ),
        )
      : null;
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Latency of the model"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Latency" },
      h(
        "table",
        { class: "rows plain" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("td", null),
            ["Mean", "p50", "p90", "p95", "p99"].map((name) => h("th", { scope: "col", class: "num" }, name)),
          ),
        ),
        h("tbody", null, row("Whole call", call), row("First token", first)),
      ),
    ),
    bars({
      label: `How long ${plural(call.count, "call")} took`,
      items: call.buckets.map((bucket) => ({
        name: `up to ${milliseconds(bucket.le_ms)}`,
        value: bucket.count,
      })),
      format: count,
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
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Models"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Models" },
      h(
        "table",
        { class: "rows plain" },
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            [["Model", ""], ["Requests", "num"], ["Tokens", "num"], cost && ["Cost", "num"]]
              .filter(Boolean)
              .map(([name, kind]) => h("th", { scope: "col", class: kind }, name)),
          ),
        ),
        h(
          "tbody",
          null,
          found.map((one) =>
            h(
              "tr",
              { key: one.model },
              h("td", { class: "break" }, one.model || "none named"),
              h("td", { class: "num" }, count(one.request_counts.completed + one.request_counts.failed)),
              h("td", { class: "num" }, count(one.usage.total_tokens)),
              cost && h("td", { class: "num" }, money(one.cost)),
            ),
          ),
        ),
      ),
    ),
  );
}

function details(batch, known) {
  const usage = batch.usage;
  const tokens = batch.estimated_tokens;
  const more = (n, text) => (n ? `, ${count(n)} of them ${text}` : "");
  return facts([
    ["Input", h("a", { href: `#/files?id=${batch.input_file_id}` }, h("code", null, batch.input_file_id))],
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
    ["Estimated duration", batch.estimated_duration_s == null ? null : duration(batch.estimated_duration_s)],
    ["Bad lines", batch.on_invalid_line === "skip" ? "become errors; the rest runs" : null],
    ["Identical requests", batch.deduplicate ? shared(batch) : null],
    ["Budget", budget(batch)],
    [
      "Retry of",
      batch.retry_of && h("a", { href: `#/batches/${batch.retry_of}` }, h("code", null, batch.retry_of)),
    ],
    ["Carried over", batch.carried_over == null ? null : `${count(batch.carried_over)} answers`],
    ["After", batch.after && h("a", { href: `#/batches/${batch.after}` }, h("code", null, batch.after))],
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
  return parts.length ? `at most ${parts.join(", ")}` : null;
}
