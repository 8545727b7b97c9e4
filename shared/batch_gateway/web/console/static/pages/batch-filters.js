// The filters above a list of batches.

import { h } from "../dom.js";
import { title } from "../format.js";
import { select } from "../ui.js";

const STATUSES = [
  "validating",
  "in_progress",
  "finalizing",
  "completed",
  "failed",
  "expired",
  "cancelling",
  "cancelled",
];
const AGES = [
  ["", "Any time"],
  ["3600", "Last hour"],
  ["86400", "Last day"],
  ["604800", "Last 7 days"],
  ["2592000", "Last 30 days"],
];

export const filtered = (filter) => Object.values(filter).some(Boolean);

/** When batches were created that are at most `age` seconds old, for the API; undefined: any time. */
export const createdAfter = (age) => (age ? Math.floor(Date.now() / 1000 - Number(age)) : undefined);

/**
 * A form that changes `filter`: a text, the status, the model and the age.
 *
 * `text` is the name, placeholder and label of the text's field. `narrowed` gets what has changed. A batch
 * id in the text is given to `open` instead.
 */
export function filterBar({ filter, text, narrowed, open }) {
  function search(event) {
    event.preventDefault();
    const typed = (name) => event.target.elements[name].value.trim();
    const found = typed(text.name);
    if (/^batch_[\w-]+$/.test(found)) open(found);
    else narrowed({ [text.name]: found, model: typed("model") });
  }

  // An emptied field counts at once, other text with the button.
  const field = (name, placeholder, label) =>
    h("input", {
      type: "search",
      name,
      value: filter[name],
      placeholder,
      "aria-label": label,
      onchange: (event) => event.target.value || narrowed({ [name]: "" }),
    });

  const clear = () => narrowed(Object.fromEntries(Object.keys(filter).map((name) => [name, ""])));

  return h(
    "form",
    { class: "filters", role: "search", onsubmit: search },
    field(text.name, text.placeholder, text.label),
    select(
      [["", "Any status"], ...STATUSES.map((one) => [one, title(one)])],
      filter.status,
      (status) => narrowed({ status }),
      { "aria-label": "Status" },
    ),
    field("model", "Model", "Model"),
    select(AGES, filter.age, (age) => narrowed({ age }), { "aria-label": "Age" }),
    h("button", null, "Search"),
    filtered(filter) ? h("button", { type: "button", class: "ghost", onclick: clear }, "Clear") : null,
  );
}
