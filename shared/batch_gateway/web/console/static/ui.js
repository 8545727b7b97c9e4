// Parts that pages are made of.

import { count, duration, instant, now, percent, plural, rough, title } from "./format.js";
import { h } from "./dom.js";

export const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);
export const ended = (batch) => ENDED.has(batch.status);

/** Why nothing of a batch is being worked on, and what helps. */
export const BLOCKED = {
  paused: [
    "Paused",
    "The batch was paused. Running requests finish. No request starts until the batch is resumed. The deadline does not change.",
  ],
  off_peak: [
    "Outside its hours",
    "The calendar of the model's endpoint allows no calls now. The batch continues when the allowed hours begin.",
  ],
  endpoint_unauthorized: [
    "Endpoint refuses the key",
    "The model's endpoint refuses the service's own API key (401 or 403). An operator must correct it. Requests continue when the endpoint accepts the key.",
  ],
  waiting_for_model: [
    "Waiting for the model",
    "The model's endpoint does not answer, or the model is scaled to zero and starts. Requests continue after its first answer. No request is lost.",
  ],
  engine_saturated: [
    "Engine is saturated",
    "The engine is full: it refuses calls, or its queue or cache made the service lower the number of calls. The batch uses every slot that becomes free, and runs faster when the load falls. No request is lost before the deadline.",
  ],
  no_slots: [
    "Waiting for slots",
    "All slots of the model are in use by other work. A smaller priority number puts this batch before your other batches.",
  ],
  storage_full: [
    "Storage is full",
    "Results cannot be stored now: the disk, memory or quota of a store is full. An operator must free space. The batch then continues by itself.",
  ],
};

export function badge(status) {
  return h("span", { class: `badge is-${status}` }, title(status));
}

/** How far a batch is, as a bar with its numbers. */
export function progress(batch) {
  const { total, completed, failed } = batch.request_counts;
  const share = total ? (completed + failed) / total : 0;
  const label = total
    ? `${count(completed + failed)} of ${count(total)} requests, ${count(failed)} failed`
    : "No requests known yet";
  return h(
    "div",
    { class: "progress" },
    h(
      "div",
      {
        class: `bar is-${batch.status}`,
        role: "progressbar",
        "aria-valuemin": "0",
        "aria-valuemax": "100",
        "aria-valuenow": String(Math.round(share * 100)),
        "aria-label": label,
      },
      h("span", { class: "ok", style: { width: total ? `${(100 * completed) / total}%` : "0" } }),
      h("span", { class: "bad", style: { width: total ? `${(100 * failed) / total}%` : "0" } }),
    ),
    h(
      "span",
      { class: "numbers" },
      total ? `${count(completed + failed)} / ${count(total)}` : "–",
      failed ? h("span", { class: "failed" }, ` ${plural(failed, "failed", "failed")}`) : null,
    ),
  );
}

/** What a list says about a batch's time: when it will be done, what it waits for, or how it ended. */
export function outlook(batch) {
  if (ended(batch)) {
    const at = batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at;
    return h("span", { title: instant(at) }, `took ${duration(at - batch.created_at)}`);
  }
  if (batch.blocked_reason)
    return h("span", { class: "warn" }, BLOCKED[batch.blocked_reason]?.[0] ?? title(batch.blocked_reason));
  if (batch.estimated_completion_at)
    return h("span", null, `done in about ${rough(Math.max(1, batch.estimated_completion_at - now()))}`);
  return h(
    "span",
    { class: "dim", title: instant(batch.expires_at) },
    `due in ${rough(Math.max(0, batch.expires_at - now()))}`,
  );
}

export const share = (batch) =>
  batch.request_counts.total
    ? percent((batch.request_counts.completed + batch.request_counts.failed) / batch.request_counts.total)
    : "";

/** The name that its owner gave a batch, if any. */
export const named = (batch) =>
  batch.metadata?.name ?? batch.metadata?.title ?? batch.metadata?.description ?? null;

export function callout(kind, head, ...body) {
  return h(
    "div",
    { class: `callout ${kind}`, role: kind === "bad" ? "alert" : null },
    h("strong", null, head),
    ...body,
  );
}

/** What stands where something could not be read; `again` tries once more. */
export function problem(error, again) {
  const [head, text] = explained(error);
  return h(
    "div",
    { class: "state", role: "alert" },
    h("h2", null, head),
    h("p", null, text),
    again && error.status !== 403 && h("button", { onclick: again }, "Try again"),
  );
}

function explained(error) {
  if (error.status === 0)
    return [
      "The service cannot be reached",
      "It may be restarting, or the network is unavailable. The console retries.",
    ];
  if (error.status === 403) return ["Not allowed", `Your key does not open this. ${error.message}`];
  if (error.status === 404) return ["Not found", error.message];
  return ["This did not work", error.message];
}

export function empty(head, text, action = null) {
  return h(
    "div",
    { class: "state" },
    h("h2", null, head),
    h("p", null, text),
    action && h("a", { class: "button primary", href: action.href }, action.text),
  );
}

export function loading(rows = 6) {
  return h(
    "div",
    { class: "skeleton", role: "status", "aria-label": "Loading" },
    Array.from({ length: rows }, () => h("span", null)),
  );
}

/** The view of something Loaded: its value, or why there is none. */
export function loaded(one, view, again = () => one.load().catch(() => {})) {
  if (one.value !== null) return view(one.value);
  if (one.error) return problem(one.error, again);
  return loading();
}

let labels = 0;

/** A modal window. The browser keeps the focus in it and gives it back. */
export function dialog({ title: head, onclose, wide = false }, ...body) {
  return h(
    "dialog",
    {
      key: `dialog ${head}`,
      class: wide ? "broad" : null,
      "aria-label": head,
      ref: (node) => node.showModal(),
      oncancel: (event) => (event.preventDefault(), onclose()),
    },
    h(
      "div",
      { class: "dialog-head" },
      h("h2", null, head),
      h("button", { class: "ghost", "aria-label": "Close", onclick: onclose }, "×"),
    ),
    ...body,
  );
}

/** A labelled input; `control` gets the id that the label names. */
export function field(label, control, hint = null) {
  const id = control.props.id ?? `field-${(labels += 1)}`;
  control.props.id = id;
  if (hint) control.props["aria-describedby"] = `${id}-hint`;
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    hint && h("small", { id: `${id}-hint` }, hint),
  );
}

/** An input whose text is the field `name` of `form`. */
export const bound = (form, name, props = {}) =>
  h("input", { value: form[name], oninput: (event) => (form[name] = event.target.value), ...props });

/** A box to tick. */
export const tick = (text, checked, onchange, key = null) =>
  h(
    "label",
    { class: "check", key },
    h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked) }),
    text,
  );

/** Boxes to tick, one for each of `options`: [name, text]; `chosen` is the set of the names that are. */
export function checks(app, legend, options, chosen) {
  const pick = (name) => (on) => (on ? chosen.add(name) : chosen.delete(name), app.refresh());
  return h(
    "fieldset",
    null,
    h("legend", null, legend),
    options.map(([name, text]) => tick(text, chosen.has(name), pick(name), name)),
  );
}

export function select(options, value, onchange, props = {}) {
  return h(
    "select",
    { ...props, value, onchange: (event) => onchange(event.target.value) },
    options.map(([name, text]) => h("option", { value: name, key: name }, text)),
  );
}

/** Something to copy, such as an id. */
export function copyable(app, text) {
  return h(
    "span",
    { class: "copyable" },
    h("code", null, text),
    h(
      "button",
      { class: "ghost small", title: "Copy", "aria-label": `Copy ${text}`, onclick: () => copy(app, text) },
      h(
        "svg",
        { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" },
        h("rect", { x: 5.5, y: 5.5, width: 8, height: 8, rx: 1.5 }),
        h("path", { d: "M3.5 10.5h-1v-8h8v1" }),
      ),
    ),
  );
}

function copy(app, text) {
  const done =
    navigator.clipboard?.writeText(text) ??
    Promise.reject(new Error("Browsers copy over HTTPS or on localhost only."));
  return app.attempt(() => done, "Copied");
}

export function heading(text, ...actions) {
  return h("div", { class: "heading" }, h("h1", null, text), h("div", { class: "actions" }, actions));
}

/** Terms and what they are, two columns. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))),
  );
}

/** Numbers side by side: [name, value, hint]; those without a value are left out. `raised`: not in a card. */
export function tiles(items, { raised = true } = {}) {
  return h(
    "dl",
    { class: raised ? "tiles raised" : "tiles" },
    items
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value, hint = null]) =>
        h(
          "div",
          { key: name },
          h("dt", null, name),
          h("dd", null, value),
          hint && h("dd", { class: "hint" }, hint),
        ),
      ),
  );
}
