// Charts in SVG, each with its numbers as a table: lines over time, and bars.

import { h } from "./dom.js";
import { instant } from "./format.js";
import { scrolling, table } from "./tables.js";

const WIDTH = 640;
const HEIGHT = 180;
const LEFT = 52;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;

/** `series`: [{ name, points: [[unix seconds, number], ...] }]; `format` writes a number of the axis. */
export function chart({ label, series, format, from = null, to = null }) {
  const points = series.flatMap((one) => one.points);
  if (new Set(points.map(([at]) => at)).size < 2)
    return h("p", { class: "dim chart-empty" }, "Not enough has happened yet to draw.");
  const times = points.map(([at]) => at);
  const [start, end] = [from ?? Math.min(...times), to ?? Math.max(...times)];
  const top = nice(Math.max(...points.map(([, value]) => value)));
  const x = (at) => LEFT + ((at - start) / (end - start || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      null,
      label,
      h(
        "span",
        { class: "legend" },
        series.map((one, at) => h("span", { class: `series-${at}` }, one.name)),
      ),
    ),
    h(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary(label, series, format) },
      axis(top, y, format),
      h("text", { class: "tick-text", x: LEFT, y: HEIGHT - 6 }, instant(start)),
      h("text", { class: "tick-text", x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, instant(end)),
      series.map((one, at) => h("path", { class: `line series-${at}`, d: path(one.points, x, y) })),
    ),
    ofSeries(series, format),
  );
}

/** Lines across the drawing with what they stand for: nothing, half of the top, and the top. */
function axis(top, y, format) {
  return [0, 0.5, 1].map((part) =>
    h(
      "g",
      null,
      h("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(part * top), y2: y(part * top) }),
      h(
        "text",
        { class: "tick-text", x: LEFT - 6, y: y(part * top) + 4, "text-anchor": "end" },
        format(part * top),
      ),
    ),
  );
}

function path(points, x, y) {
  return points
    .map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`)
    .join("");
}

/** The numbers of a drawing; `rows` are cells by key. */
const numbers = (columns, rows, heads) =>
  h(
    "details",
    null,
    h("summary", null, "As a table"),
    scrolling("Values", table({ columns, rows, heads, plain: true })),
  );

function ofSeries(series, format) {
  const rows = new Map();
  series.forEach((one, at) =>
    one.points.forEach(([when, value]) =>
      rows.set(when, Object.assign(rows.get(when) ?? [], { [at]: value })),
    ),
  );
  return numbers(
    [["Time", ""], ...series.map((one) => [one.name, "num"])],
    [...rows]
      .sort(([a], [b]) => a - b)
      .slice(-200)
      .map(([when, values]) => ({
        key: when,
        cells: [
          instant(when),
          ...series.map((_, at) => (values[at] === undefined ? "–" : format(values[at]))),
        ],
      })),
    false,
  );
}

function summary(label, series, format) {
  return `${label}. ${series
    .filter((one) => one.points.length)
    .map(
      (one) =>
        `${one.name}: now ${format(one.points.at(-1)[1])}, at most ${format(Math.max(...one.points.map(([, value]) => value)))}`,
    )
    .join("; ")}`;
}

/** Bars side by side; `items`: [{ name, value }]. The names of the first and the last stand below. */
export function bars({ label, items, format }) {
  if (!items.length) return h("p", { class: "dim chart-empty" }, "Nothing to draw.");
  const top = nice(Math.max(...items.map((one) => one.value)));
  const step = (WIDTH - LEFT - RIGHT) / items.length;
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const most = items.reduce((a, b) => (b.value > a.value ? b : a));
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", null, label),
    h(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `${label}. Most: ${most.name}, ${format(most.value)}`,
      },
      axis(top, y, format),
      items.map((one, at) =>
        h(
          "rect",
          {
            key: one.name,
            class: "column",
            x: LEFT + at * step + step * 0.1,
            width: Math.min(step * 0.8, 60),
            y: y(one.value),
            height: Math.max(0, y(0) - y(one.value)),
          },
          h("title", null, `${one.name}: ${format(one.value)}`),
        ),
      ),
      h("text", { class: "tick-text", x: LEFT, y: HEIGHT - 6 }, items[0].name),
      items.length > 1
        ? h(
            "text",
            { class: "tick-text", x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" },
            items.at(-1).name,
          )
        : null,
    ),
    numbers(
      [
        ["", ""],
        ["", "num"],
      ],
      items.map((one) => ({ key: one.name, cells: [one.name, format(one.value)] })),
      true,
    ),
  );
}

/** The next round number from `value` on. */
function nice(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}
