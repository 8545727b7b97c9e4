// All batches: filter, search, watch, and do the same with several.

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, instant, plural, title } from "../format.js";
import { Loaded, poll } from "../live.js";
import { strict } from "../session.js";
import { Pages } from "../tables.js";
import { badge, empty, ended, heading, loaded, named, outlook, progress } from "../ui.js";
import { createdAfter, filterBar, filtered } from "./batch-filters.js";

const PAGE = 50;

export default function batches(app, _path, query) {
  const filter = {
    status: query.get("status") ?? "",
    age: query.get("age") ?? "",
    model: query.get("model") ?? "",
    text: query.get("text") ?? "",
  };
  const chosen = new Set();
  const pages = new Pages(() => {
    chosen.clear();
    list.value = null;
    app.refresh();
    polling.now();
  });

  const list = new Loaded(app, (signal) =>
    get("batches", { limit: PAGE, after: pages.after, ...asked(filter) }, signal),
  );
  const polling = poll(
    (signal) => list.load(signal),
    () => (list.value?.data.some((one) => !ended(one)) ? 2000 : 5000),
  );

  function narrowed(changes) {
    Object.assign(filter, changes);
    const found = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    history.replaceState(null, "", `#/batches${found.size ? `?${found}` : ""}`);
    pages.first();
  }

  async function forAll(verb, some, said) {
    const agreed = await app.confirm({
      title: `${title(verb)} ${plural(some.length, "batch", "batches")}?`,
      text:
        verb === "cancel"
          ? "Running requests are aborted. Finished results are kept."
          : "For each one, a new batch runs the failed requests and copies the other answers.",
      action: title(verb),
      danger: verb === "cancel",
    });
    if (!agreed) return;
    const failed = await each(some, (one) => post(`batches/${one.id}/${verb}`));
    chosen.clear();
    if (some.length > failed.length)
      app.toast(`${plural(some.length - failed.length, "batch", "batches")} ${said}`);
    if (failed.length) app.toast(`${failed.length} not ${said}. ${failed[0]}`, { bad: true });
    polling.now();
  }

  const pick = (one, on) => (on ? chosen.add(one.id) : chosen.delete(one.id), app.refresh());

  function view() {
    return [
      heading("Batches", h("a", { class: "button primary", href: "#/new" }, "New batch")),
      filters(),
      loaded(list, table, () => polling.now()),
    ];
  }

  function filters() {
    if (strict()) return null;
    return filterBar({
      filter,
      text: {
        name: "text",
        placeholder: "Batch id or note=value",
        label: "Search by batch id or note",
      },
      narrowed,
      open: (id) => app.go(`#/batches/${id}`),
    });
  }

  function table(page) {
    if (!page.data.length)
      return filtered(filter)
        ? empty("No batch matches", "Try other filters.")
        : empty("No batches yet", "A batch runs a file of requests at the pace that the models allow.", {
            href: "#/new",
            text: "Make the first batch",
          });
    const here = page.data.filter((one) => chosen.has(one.id));
    const all = here.length === page.data.length;
    return [
      bulk(here),
      h(
        "table",
        { class: "rows batches" },
        h("caption", { class: "hidden" }, "Batches, the newest first"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h(
              "th",
              { class: "tick" },
              h("input", {
                type: "checkbox",
                "aria-label": "Choose all on this page",
                checked: all,
                indeterminate: here.length > 0 && !all,
                onchange: (event) => (
                  page.data.forEach((one) =>
                    event.target.checked ? chosen.add(one.id) : chosen.delete(one.id),
                  ),
                  app.refresh()
                ),
              }),
            ),
            ["Batch", "Status", "Progress", "Time", "Model", "Created"].map((text) =>
              h("th", { scope: "col", class: `col-${text.toLowerCase()}` }, text),
            ),
          ),
        ),
        h("tbody", null, page.data.map(row)),
      ),
      pages.view(page),
    ];
  }

  function row(one) {
    const name = named(one);
    return h(
      "tr",
      { key: one.id, class: chosen.has(one.id) ? "chosen" : null },
      h(
        "td",
        { class: "tick" },
        h("input", {
          type: "checkbox",
          "aria-label": `Choose ${name ?? one.id}`,
          checked: chosen.has(one.id),
          onchange: (event) => pick(one, event.target.checked),
        }),
      ),
      h(
        "td",
        { class: "col-batch" },
        h("a", { href: `#/batches/${one.id}` }, name ?? h("code", null, one.id)),
        h(
          "span",
          { class: "sub" },
          name ? h("code", null, one.id) : one.endpoint,
          one.dry_run ? " · dry run" : null,
          one.retry_of ? " · retry" : null,
        ),
      ),
      h(
        "td",
        { class: "col-status" },
        badge(one.paused && one.status === "in_progress" ? "paused" : one.status),
      ),
      h("td", { class: "col-progress" }, progress(one)),
      h("td", { class: "col-time" }, outlook(one)),
      h("td", { class: "col-model" }, one.model ?? h("span", { class: "dim" }, "–")),
      h("td", { class: "col-created", title: instant(one.created_at) }, ago(one.created_at)),
    );
  }

  function bulk(here) {
    if (!here.length) return null;
    const open = here.filter((one) => !ended(one) && one.status !== "cancelling");
    const failed = here.filter((one) => ended(one) && !one.dry_run);
    return h(
      "div",
      { class: "bulk", role: "group", "aria-label": "For the chosen batches" },
      h("strong", null, `${here.length} chosen`),
      h(
        "button",
        { disabled: !open.length, onclick: () => forAll("cancel", open, "cancelled") },
        `Cancel ${open.length || ""}`,
      ),
      strict()
        ? null
        : h(
            "button",
            { disabled: !failed.length, onclick: () => forAll("retry", failed, "retried") },
            `Retry ${failed.length || ""}`,
          ),
      h("button", { class: "ghost", onclick: () => (chosen.clear(), app.refresh()) }, "Choose none"),
    );
  }

  return { title: "Batches", view, close: () => polling.stop() };
}

/** Do the same with several batches, four at once; what failed, in words. */
export async function each(some, act) {
  const failed = [];
  const rest = [...some];
  const worker = async () => {
    for (let one = rest.pop(); one; one = rest.pop())
      await act(one).catch((error) => failed.push(`${one.id}: ${error.message}`));
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return failed;
}

/** The filter as the API's query. A note is asked for as key=value; a bare word as the note `name`. */
function asked({ status, age, model, text }) {
  const query = { status, model, created_after: createdAfter(age) };
  if (text) {
    const [key, ...value] = text.split("=");
    if (value.length) query[`metadata[${key.trim()}]`] = value.join("=").trim();
    else query["metadata[name]"] = text;
  }
  return query;
}
