// The models that requests may name, and, for operators, how many calls each endpoint takes and why.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { h } from "../dom.js";
import { ago, count, instant, milliseconds, now, short, title } from "../format.js";
import { Loaded, poll } from "../live.js";
import { reads } from "../session.js";
import { table } from "../tables.js";
import { callout, copyable, empty, heading, loaded, tiles } from "../ui.js";

const HOUR_S = 3600;
const SAMPLE_S = 10; // what is seen within one such time is one sample, the newest
const RECENT_S = 60; // how long a brake is worth a warning

const BRAKES = {
  dropped: "Refused or broken calls",
  retry_after: "Retry-After",
  latency: "Latency",
  engine: "Engine metrics",
  probe: "Probe",
};

const BREAKERS = {
  closed: ["closed", "calls pass"],
  open: ["open", "the endpoint does not answer: one trial call at a time"],
  unauthorized: ["open", "the endpoint refuses the service's API key"],
};

export default function models(app) {
  const samples = new Map(); // pool -> [instant, limit, calls in flight] of the last hour
  const list = new Loaded(app, async (signal) => {
    const operator = app.session?.operator === true;
    const [found, pools] = await Promise.all([
      reads(app) ? get("models", {}, signal) : { data: null },
      operator ? get("admin/pools", { history: samples.size ? null : "true" }, signal) : null,
    ]);
    for (const pool of pools?.data ?? []) seen(pool);
    return { models: found.data, pools: pools && pools.data };
  });
  const polling = poll(
    (signal) => list.load(signal),
    // An operator may not be known as one yet when the page is read first.
    () => (app.session === null || app.session.operator ? 2000 : 15_000),
  );

  function seen(pool) {
    const some =
      pool.history?.map((one) => [one.at, one.limit, one.in_use]) ?? samples.get(pool.id) ?? [];
    const at = now();
    if (some.length > 1 && at - some.at(-2)[0] < SAMPLE_S) some.pop();
    some.push([at, pool.limit, pool.in_use]);
    samples.set(
      pool.id,
      some.filter(([when]) => at - when <= HOUR_S),
    );
  }

  function content({ models: found, pools }) {
    return h(
      "div",
      { class: "stack" },
      found && found.length ? names(found) : null,
      found && !found.length
        ? empty(
            "No models",
            "The endpoint lists no models now. It may be unavailable, or an operator has to configure it.",
          )
        : null,
      pools && pools.length ? h("div", { class: "columns even" }, pools.map(card)) : null,
      pools && !pools.length
        ? h("p", { class: "dim" }, "No calls have been made lately: there are no limits to show.")
        : null,
    );
  }

  function names(found) {
    return table({
      caption: "Models",
      columns: [
        ["Model", "break"],
        ["Owner", "break"],
        ["", "row-actions"],
      ],
      rows: found.map((model) => ({
        key: model.id,
        cells: [
          copyable(app, model.id),
          model.owned_by,
          h(
            "a",
            { class: "button small", href: `#/batches?model=${encodeURIComponent(model.id)}` },
            "Its batches",
          ),
        ],
      })),
    });
  }

  function card(one) {
    const brake = one.last_brake;
    const line = (name, at) => ({ name, points: samples.get(one.id).map((each) => [each[0], each[at]]) });
    const [breaker, why] = BREAKERS[one.breaker] ?? ["not known", "no executor calls it now"];
    return h(
      "section",
      { class: "card", key: one.id },
      h("h2", { class: "break" }, one.id),
      h("p", { class: "sub break" }, `Endpoint ${one.endpoint}`),
      brake && now() - brake.at < RECENT_S
        ? callout(
            "warn",
            `The limit was lowered ${ago(brake.at)}`,
            h("p", null, `${brake.reason.charAt(0).toUpperCase()}${brake.reason.slice(1)}.`),
          )
        : null,
      breaker === "open" ? callout("bad", "The breaker is open", h("p", null, `${title(why)}.`)) : null,
      tiles(
        [
          ["Limit of calls at once", short(one.limit)],
          ["Calls in flight", count(one.in_use)],
          ["Calls wanted", count(one.wanted)],
          ["Executors", count(one.executors)],
          [
            "Last brake",
            brake ? (BRAKES[brake.brake] ?? title(brake.brake)) : "none",
            brake && `${ago(brake.at)}: ${brake.reason}`,
          ],
          ["Breaker", breaker, why],
          ["Calendar", ...calendar(one)],
          ["Engine", one.signal && signal(one.signal), one.signal?.reason],
        ],
        { raised: false },
      ),
      chart({
        label: "In the last hour",
        series: [line("limit", 1), line("calls in flight", 2)],
        format: short,
      }),
    );
  }

  function calendar({ ceiling, ceiling_changes_at: change }) {
    if (ceiling === null) return ["no route", "the routing does not name this endpoint any more"];
    const allowed = ceiling === 0 ? "no calls now" : `up to ${count(ceiling)} calls`;
    return [allowed, change === null ? "at all hours" : `changes ${instant(change)}`];
  }

  function signal({ running, waiting, cache, ttft_ms: first }) {
    const parts = [
      running !== null && `${count(running)} running`,
      waiting !== null && `${count(waiting)} waiting`,
      cache !== null && `cache ${Math.round(cache * 100)} %`,
      first !== null && `first token ${milliseconds(first)}`,
    ].filter(Boolean);
    return parts.join(", ") || "no metrics";
  }

  return {
    title: "Models",
    view: () => [heading("Models"), loaded(list, content, () => polling.now())],
    close: () => polling.stop(),
  };
}
