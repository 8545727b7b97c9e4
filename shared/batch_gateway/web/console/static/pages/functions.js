// The functions and how many instances of each run, over the last hour, for operators.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { h } from "../dom.js";
import { ago, count, instant, now } from "../format.js";
import { Loaded, poll } from "../live.js";
import { heading, loaded, tiles } from "../ui.js";

const HOUR = 3600;

export default function functions(app) {
  const list = new Loaded(app, async (signal) => {
    const [found, activations] = await Promise.all([
      get("admin/functions", {}, signal),
      get("admin/activations", {}, signal),
    ]);
    return { functions: found.data, activations, at: now() };
  });
  const polling = poll(
    (signal) => list.load(signal),
    () => 3000,
  );

  function content({ functions: found, activations, at }) {
    const running = found.filter((one) => one.instances.length);
    return h(
      "div",
      { class: "stack" },
      tiles([
        ["Functions that run", `${count(running.length)} of ${count(found.length)}`],
        [
          "Executor requests",
          `${count(activations.running)} of ${count(activations.maximum)}`,
          activations.pending ? `${count(activations.pending)} have not begun yet` : null,
        ],
      ]),
      h(
        "div",
        { class: "columns even" },
        found.map((one) => card(one, at)),
      ),
    );
  }

  function card(one, at) {
    const n = one.instances.length;
    return h(
      "section",
      { class: "card", key: one.id },
      h(
        "h2",
        null,
        one.id,
        " ",
        h("span", { class: n ? "badge is-active" : "badge" }, n ? `${count(n)} running` : "at zero"),
      ),
      h("p", { class: "dim" }, since(one)),
      chart({
        label: "Instances in the last hour",
        series: [{ name: "instances", points: steps(one.history, at) }],
        format: count,
        from: at - HOUR,
        to: at,
      }),
    );
  }

  function since({ instances, history }) {
    if (instances.length)
      return `The oldest started ${ago(Math.min(...instances.map((one) => one.started_at)))}.`;
    const last = history.at(-1);
    return history.length > 1 ? `At zero since ${instant(last.at)}.` : "None has run in the last hour.";
  }

  return {
    title: "Functions",
    view: () => [heading("Functions"), loaded(list, content, () => polling.now())],
    close: () => polling.stop(),
  };
}

/** The counts as a line of steps that ends at `at`. */
function steps(history, at) {
  const points = [];
  for (const [index, { at: from, instances }] of history.entries())
    points.push([from, instances], [history[index + 1]?.at ?? at, instances]);
  return points;
}
