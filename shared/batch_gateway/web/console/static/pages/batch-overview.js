// What a batch is, how it went on in time, and what it used.

import { chart } from "../chart.js";
import { h } from "../dom.js";
import { count, duration, instant, now, short } from "../format.js";
import { ended, facts } from "../ui.js";

const MOST = 600; // samples that are kept while the page is open

export class Overview {
  constructor(app, one, id) {
    Object.assign(this, { app, one, id, samples: [] });
  }

  /** Remember how far the batch is, for the plot of what happens while one looks. */
  seen(batch) {
    if (ended(batch)) return;
    const { completed, failed } = batch.request_counts;
    this.samples.push([now(), completed + failed]);
    if (this.samples.length > MOST) this.samples.shift();
  }

  view(batch) {
    return h(
      "div",
      { class: "columns" },
      h("section", { class: "card" }, h("h2", null, "Time line"), timeline(batch), this.speed()),
      h("section", { class: "card" }, h("h2", null, "Details"), details(batch)),
    );
  }

  speed() {
    const points = [];
    for (let at = 1; at < this.samples.length; at += 1) {
      const back = this.samples[Math.max(0, at - 4)]; // over some samples, so that the line is calm
      const [when, done] = this.samples[at];
      points.push([when, (60 * (done - back[1])) / (when - back[0])]);
    }
    return points.length < 2
      ? null
      : chart({
          label: "Requests per minute, since this page was opened",
          series: [{ name: "requests", points }],
          format: short,
        });
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
      const until = steps[at + 1]?.at ?? (ended(batch) ? step.at : now());
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
              at === steps.length - 1 ? `for ${duration(until - step.at)} now` : duration(until - step.at),
            ),
      );
    }),
  );
}

function details(batch) {
  const usage = batch.usage;
  const tokens = batch.estimated_tokens;
  return facts([
    ["Input", h("a", { href: `#/files?id=${batch.input_file_id}` }, h("code", null, batch.input_file_id))],
    ["Completion window", `${batch.completion_window}, until ${instant(batch.expires_at)}`],
    ["Priority", batch.priority === undefined ? null : `${batch.priority} of 0 (first) to 9 (last)`],
    [
      "Input tokens",
      usage &&
        `${count(usage.input_tokens)}${usage.input_tokens_details.cached_tokens ? `, ${count(usage.input_tokens_details.cached_tokens)} of them cached` : ""}`,
    ],
    [
      "Output tokens",
      usage &&
        `${count(usage.output_tokens)}${usage.output_tokens_details.reasoning_tokens ? `, ${count(usage.output_tokens_details.reasoning_tokens)} of them reasoning` : ""}`,
    ],
    [
      "Estimated tokens",
      tokens &&
        Object.entries(tokens).map(([model, n]) =>
          h("div", { key: model }, `${model || "no model"}: ${count(n)}`),
        ),
    ],
    ["Estimated duration", batch.estimated_duration_s == null ? null : duration(batch.estimated_duration_s)],
    ["Bad lines", batch.on_invalid_line === "skip" ? "become errors; the rest runs" : null],
    [
      "Identical requests",
      batch.deduplicate
        ? `run once${batch.deduplicated ? `: ${count(batch.deduplicated)} shared` : ""}${batch.saved_tokens ? `, ${count(batch.saved_tokens)} tokens saved` : ""}`
        : null,
    ],
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

function budget(batch) {
  const parts = [];
  if (batch.max_errors != null) parts.push(`${count(batch.max_errors)} errors`);
  if (batch.max_error_rate != null) parts.push(`${batch.max_error_rate * 100} % errors`);
  if (batch.max_total_tokens != null) parts.push(`${count(batch.max_total_tokens)} tokens`);
  return parts.length ? `at most ${parts.join(", ")}` : null;
}
