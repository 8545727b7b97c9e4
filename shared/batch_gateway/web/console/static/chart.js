// Line charts in SVG: several series over time, with a readout under the pointer and as a table.

import { h } from "./dom.js";
import { instant } from "./format.js";

const WIDTH = 640;
const HEIGHT = 180;
const LEFT = 52;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;

/** `series`: [{ name, points: [[unix seconds, number], ...] }]; `format` writes a number of the axis. */
export function chart({ label, series, format, from = null, to = null }) {
  const points = series.flatMap((one) => one.points);
  if (points.length < 2) return h("p", { class: "dim chart-empty" }, "Not enough has happened yet to draw.");
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
      [0, 0.5, 1].map((part) =>
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
      ),
      h("text", { class: "tick-text", x: LEFT, y: HEIGHT - 6 }, instant(start)),
      h("text", { class: "tick-text", x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, instant(end)),
      series.map((one, at) => h("path", { class: `line series-${at}`, d: path(one.points, x, y) })),
    ),
    h("details", null, h("summary", null, "As a table"), table(series, format)),
  );
}

function path(points, x, y) {
  return points
    .map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`)
    .join("");
}

function table(series, format) {
  const rows = new Map();
  series.forEach((one, at) =>
    one.points.forEach(([when, value]) =>
      rows.set(when, Object.assign(rows.get(when) ?? [], { [at]: value })),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values" },
    h(
      "table",
      { class: "rows" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "Time"),
          series.map((one) => h("th", { scope: "col", class: "num" }, one.name)),
        ),
      ),
      h(
        "tbody",
        null,
        [...rows]
          .sort(([a], [b]) => a - b)
          .slice(-200)
          .map(([when, values]) =>
            h(
              "tr",
              { key: when },
              h("td", null, instant(when)),
              series.map((_, at) =>
                h("td", { class: "num" }, values[at] === undefined ? "–" : format(values[at])),
              ),
            ),
          ),
      ),
    ),
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

/** The next round number from `value` on. */
function nice(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}
