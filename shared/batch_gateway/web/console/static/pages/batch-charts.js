// The progress of a batch over time, and the latency of the model's answers.

import { bars, chart } from "../chart.js";
import { h } from "../dom.js";
import { count, instant, milliseconds, now, plural, short } from "../format.js";
import { scrolling, table } from "../tables.js";

/** Requests and tokens per minute, by the intervals in which they were finished. */
export function speed({ timeline: { interval_s: width, points } }) {
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

/** How long calls of the model took. */
export function latencies({ latency: { call, first_token: first } }) {
  const row = (name, one) => ({
    key: name,
    cells: [name, ...[one.mean_ms, one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms].map(milliseconds)],
  });
  return h(
    "section",
    { class: "card" },
    h("h2", null, "Latency of the model"),
    scrolling(
      "Latency",
      table({
        plain: true,
        heads: true,
        columns: [["", ""], ...["Mean", "p50", "p90", "p95", "p99"].map((name) => [name, "num"])],
        rows: [call.count && row("Whole call", call), first.count && row("First token", first)].filter(
          Boolean,
        ),
      }),
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
