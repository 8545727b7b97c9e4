// Usage and cost by day, model and key.

import { fetched, get, save } from "../api.js";
import { bars } from "../chart.js";
import { h } from "../dom.js";
import { count, date, money, now, short, title } from "../format.js";
import { Loaded, poll } from "../live.js";
import { scrolling, table } from "../tables.js";
import { empty, heading, loaded, select, tiles } from "../ui.js";

const DAY = 86_400;
const SPANS = [
  ["7", "Last 7 days"],
  ["30", "Last 30 days"],
  ["90", "Last 90 days"],
  ["180", "Last 180 days"],
];
const GROUPS = [
  ["model", "By model"],
  ["api_key_id", "By API key"],
  ["project_id", "By tenant"],
];
const SUMS = [
  "num_batches",
  "num_model_requests",
  "failed_requests",
  "not_run_requests",
  "input_tokens",
  "input_cached_tokens",
  "output_tokens",
];
const SUMS_SHOWN = SUMS.filter((name) => name !== "not_run_requests");

export default function usage(app) {
  const asked = { days: "30", group_by: "model" };
  const list = new Loaded(app, (signal) => get("usage", query(), signal));
  const polling = poll(
    (signal) => list.load(signal),
    () => 60_000,
  );

  function query() {
    const today = Math.floor(now() / DAY) * DAY;
    return { start_time: today - (Number(asked.days) - 1) * DAY, group_by: asked.group_by, limit: 180 };
  }

  function changed(changes) {
    Object.assign(asked, changes);
    list.value = null;
    app.refresh();
    polling.now();
  }

  const csv = () =>
    app.attempt(async () => {
      const answer = await fetched("GET", "usage", { query: { ...query(), format: "csv" } });
      save(await answer.blob(), "usage.csv");
    });

  function view() {
    return [
      heading("Usage", h("button", { onclick: csv }, "Download CSV")),
      h(
        "div",
        { class: "filters" },
        select(SPANS, asked.days, (days) => changed({ days }), { "aria-label": "Time" }),
        select(GROUPS, asked.group_by, (group_by) => changed({ group_by }), { "aria-label": "Groups" }),
      ),
      loaded(list, content, () => polling.now()),
    ];
  }

  function content(page) {
    const results = page.data.flatMap((bucket) => bucket.results);
    if (!results.length)
      return empty(
        "No usage in this time",
        "Only batches that have ended are counted, on the day of their end.",
      );
    const all = summed(results);
    const costs = results.some((one) => one.cost !== null);
    const perDay = (of) =>
      page.data.map((bucket) => ({
        name: date(bucket.start_time),
        value: bucket.results.reduce((sum, one) => sum + of(one), 0),
      }));
    return h(
      "div",
      { class: "stack" },
      tiles([
        ["Requests", count(all.num_model_requests)],
        ["Failed", count(all.failed_requests)],
        [
          "Input tokens",
          short(all.input_tokens),
          all.input_cached_tokens ? `${short(all.input_cached_tokens)} cached` : null,
        ],
        ["Output tokens", short(all.output_tokens)],
        ["Batches", count(all.num_batches)],
        ["Cost", costs ? money(all.cost) : null],
      ]),
      h(
        "div",
        { class: "columns even" },
        h(
          "section",
          { class: "card" },
          bars({ label: "Requests by day", items: perDay((one) => one.num_model_requests), format: count }),
        ),
        h(
          "section",
          { class: "card" },
          bars({
            label: "Tokens by day",
            items: perDay((one) => one.input_tokens + one.output_tokens),
            format: count,
          }),
        ),
      ),
      groups(results, costs),
    );
  }

  function groups(results, costs) {
    const byName = new Map();
    for (const one of results)
      byName.set(one[asked.group_by], [...(byName.get(one[asked.group_by]) ?? []), one]);
    const rows = [...byName]
      .map(([name, some]) => [name, summed(some)])
      .sort(([, a], [, b]) => b.input_tokens + b.output_tokens - a.input_tokens - a.output_tokens);
    const columns = [
      [title(GROUPS.find(([name]) => name === asked.group_by)[1].slice(3)), "break"],
      ["Batches", "num wide"],
      ["Requests", "num"],
      ["Failed", "num wide"],
      ["Input tokens", "num"],
      ["Cached", "num wide"],
      ["Output tokens", "num"],
      costs && ["Cost", "num"],
    ].filter(Boolean);
    const cells = ([name, one]) =>
      [
        name || h("span", { class: "dim" }, "none"),
        ...SUMS_SHOWN.map((sum) => count(one[sum])),
        costs && money(one.cost),
      ].filter(Boolean);
    return scrolling(
      "Usage by group",
      table({ columns, rows: rows.map((row) => ({ key: String(row[0]), cells: cells(row) })) }),
    );
  }

  return { title: "Usage", view, close: () => polling.stop() };
}

/** The sums of some results, with their cost as far as there are prices. */
function summed(results) {
  const sums = Object.fromEntries(
    SUMS.map((name) => [name, results.reduce((sum, one) => sum + one[name], 0)]),
  );
  const priced = results.filter((one) => one.cost !== null);
  const cost = priced.length
    ? {
        value: String(priced.reduce((sum, one) => sum + Number(one.cost.value), 0)),
        currency: priced[0].cost.currency,
      }
    : null;
  return { ...sums, cost };
}
