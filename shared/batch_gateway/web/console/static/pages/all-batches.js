// The batches of all tenants, for operators: filter, watch, open, and cancel several.

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, duration, instant, plural } from "../format.js";
import { Loaded, poll } from "../live.js";
import { Pages, table, twoLines } from "../tables.js";
import { badge, empty, ended, heading, loaded, outlook, progress } from "../ui.js";
import { createdAfter, filterBar, filtered } from "./batch-filters.js";
import { each } from "./batches.js";

const PAGE = 50;

export default function allBatches(app, _path, query) {
  const filter = Object.fromEntries(
    ["tenant", "status", "model", "age"].map((name) => [name, query.get(name) ?? ""]),
  );
  const chosen = new Set();
  const pages = new Pages(() => {
    chosen.clear();
    list.value = null;
    app.refresh();
    polling.now();
  });
  const list = new Loaded(app, (signal) =>
    get("admin/batches", { order: "created", limit: PAGE, after: pages.after, ...asked() }, signal),
  );
  const polling = poll(
    (signal) => list.load(signal),
    () => (list.value?.data.some((one) => !ended(one)) ? 2000 : 5000),
  );

  function asked() {
    const { age, ...rest } = filter;
    return { ...rest, created_after: createdAfter(age) };
  }

  function narrowed(changes) {
    Object.assign(filter, changes);
    const found = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    history.replaceState(null, "", `#/all-batches${found.size ? `?${found}` : ""}`);
    pages.first();
  }

  async function cancel(some) {
    const agreed = await app.confirm({
      title: `Cancel ${plural(some.length, "batch", "batches")}?`,
      text: "Running requests are aborted. Finished results are kept. The batches belong to their tenants.",
      action: "Cancel",
      danger: true,
    });
    if (!agreed) return;
    const failed = await each(some, (one) => post(`admin/batches/${one.id}/cancel`));
    chosen.clear();
    if (some.length > failed.length)
      app.toast(`${plural(some.length - failed.length, "batch", "batches")} cancelled`);
    if (failed.length) app.toast(`${failed.length} not cancelled. ${failed[0]}`, { bad: true });
    polling.now();
  }

  const filters = () =>
    filterBar({
      filter,
      text: { name: "tenant", placeholder: "Tenant or batch id", label: "Tenant or batch id" },
      narrowed,
      open: (id) => app.go(`#/all-batches/${id}`),
    });

  function content(page) {
    if (!page.data.length)
      return filtered(filter)
        ? empty("No batch matches", "Try other filters.")
        : empty("No batches yet", "No tenant has any.");
    const here = page.data.filter((one) => chosen.has(one.id));
    return [
      bulk(here),
      table({
        caption: "Batches of all tenants, the newest first",
        columns: [
          ["", "tick"],
          ["Batch", "lead"],
          ["Tenant", "break"],
          ["Status", ""],
          ["Progress", "wide"],
          ["Time", "wide"],
          ["Created", "wide"],
        ],
        rows: page.data.map(row),
      }),
      pages.view(page),
    ];
  }

  function row(one) {
    return {
      key: one.id,
      class: chosen.has(one.id) ? "chosen" : null,
      cells: [
        h("input", {
          type: "checkbox",
          "aria-label": `Choose ${one.id}`,
          checked: chosen.has(one.id),
          onchange: (event) => (
            event.target.checked ? chosen.add(one.id) : chosen.delete(one.id), app.refresh()
          ),
        }),
        twoLines(h("a", { href: `#/all-batches/${one.id}` }, h("code", null, one.id)), one.model),
        one.tenant,
        badge(one.paused && one.status === "in_progress" ? "paused" : one.status),
        progress(one),
        ended(one) ? `took ${duration(one.ended_at - one.created_at)}` : outlook(one),
        h("span", { title: instant(one.created_at) }, ago(one.created_at)),
      ],
    };
  }

  function bulk(here) {
    if (!here.length) return null;
    const open = here.filter((one) => !ended(one) && one.status !== "cancelling");
    return h(
      "div",
      { class: "bulk", role: "group", "aria-label": "For the chosen batches" },
      h("strong", null, `${here.length} chosen`),
      h("button", { disabled: !open.length, onclick: () => cancel(open) }, `Cancel ${open.length || ""}`),
      h("button", { class: "ghost", onclick: () => (chosen.clear(), app.refresh()) }, "Choose none"),
    );
  }

  return {
    title: "All batches",
    view: () => [heading("All batches"), filters(), loaded(list, content, () => polling.now())],
    close: () => polling.stop(),
  };
}
