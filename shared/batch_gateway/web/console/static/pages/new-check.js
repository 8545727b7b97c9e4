// What the service's check says of a file.

import { h } from "../dom.js";
import { count, duration, money, plural } from "../format.js";
import { callout, tiles } from "../ui.js";

/** What a file that can be run will cost. */
export function estimate(dry) {
  const tokens = Object.entries(dry.estimated_tokens ?? {});
  const skipped = dry.errors?.data.length ?? 0;
  return [
    callout(
      "good",
      "The file can be run",
      skipped ? h("p", null, `${plural(skipped, "bad line")} become errors.`) : null,
    ),
    tiles(
      [
        ["Requests", count(dry.request_counts.total)],
        ["Estimated tokens", tokens.length ? count(tokens.reduce((sum, [, n]) => sum + n, 0)) : "–"],
        ["Estimated cost", dry.estimated_cost && money(dry.estimated_cost)],
        [
          "Estimated time",
          dry.estimated_duration_s == null ? "not known" : duration(dry.estimated_duration_s),
          dry.estimated_duration_s == null
            ? "The models have processed no requests in the last minutes."
            : "At the speed of the last minutes.",
        ],
        [
          tokens.length === 1 ? "Model" : "Models",
          tokens.length ? tokens.map(([model]) => model || "none named").join(", ") : "–",
        ],
      ],
      { raised: false },
    ),
  ];
}

/** What is wrong with a file; `skip` runs what is right. */
export function wrong(dry, skip) {
  const errors = dry.errors?.data ?? [];
  return [
    callout(
      "bad",
      "The file cannot be run as it is",
      h("p", null, errors.length ? `${plural(errors.length, "problem")}.` : `The check ended ${dry.status}.`),
    ),
    h(
      "ul",
      { class: "problems" },
      errors
        .slice(0, 10)
        .map((error, at) =>
          h(
            "li",
            { key: at },
            error.line ? `Line ${count(error.line)}: ` : "",
            h("code", null, error.code),
            " ",
            error.message,
          ),
        ),
    ),
    errors.length > 10 ? h("p", { class: "dim" }, `And ${count(errors.length - 10)} more.`) : null,
    h(
      "div",
      { class: "actions" },
      errors.some((error) => error.line)
        ? h("a", { class: "button primary", href: `#/batches/${dry.id}/errors` }, "Correct the lines")
        : null,
      errors.some((error) => error.line) ? h("button", { onclick: skip }, "Run without these lines") : null,
    ),
  ];
}
