// The work of the whole service, for operators: queue, open batches of all tenants, what tenants have.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, count, instant, now, plural, rough, title } from "../format.js";
import { Loaded, poll } from "../live.js";
import { Pages, scrolling, table, twoLines } from "../tables.js";
import { BLOCKED, badge, callout, heading, loaded, progress, tiles } from "../ui.js";

const MOST = 50; // open batches that are shown
const TENANTS = 100; // on a page

export default function queue(app) {
  const pages = new Pages(() => polling.now()); // of the tenants
  const list = new Loaded(app, async (signal) => {
    const [state, batches, tenants] = await Promise.all([
      get("admin/queue", {}, signal),
      get("admin/batches", { limit: MOST }, signal),
      get("admin/tenants", { limit: TENANTS, after: pages.after }, signal),
    ]);
    return { state, batches, tenants };
  });
  const polling = poll(
    (signal) => list.load(signal),
    () => 3000,
  );

  function content({ state, batches, tenants }) {
    return h(
      "div",
      { class: "stack" },
      state.full_stores.map((store) =>
        callout(
          "bad",
          `The ${store} store is full`,
          h("p", null, "Batches wait and uploads are refused until space is free."),
        ),
      ),
      state.shards === null
        ? callout("warn", "The coordination store does not answer", h("p", null, "The queue cannot be read now."))
        : null,
      state.batches === null
        ? callout("warn", "The database does not answer", h("p", null, "The batches cannot be read now."))
        : null,
      numbers(state),
      open(batches),
      h(
        "div",
        { class: "columns even" },
        counted(
          "Batches",
          "Status",
          Object.entries(state.batches ?? {})
            .filter(([, n]) => n)
            .map(([name, n]) => [title(name), n]),
        ),
        counted(
          "Requests without an answer",
          "Model",
          state.backlog.map((one) => [one.model || "none named", one.requests]),
        ),
      ),
      h("div", null, tenantTable(tenants.data), pages.view(tenants)),
    );
  }

  function numbers({ shards, first_deadline: first, last_dead_letter_at: dead }) {
    return tiles([
      ["Shards that wait", shards && count(shards.ready)],
      ["Shards at executors", shards && count(shards.leased)],
      [
        "Slack to the first deadline",
        first === null ? "no open batch" : slack(first - now()),
        first && instant(first),
      ],
      [
        "Last dead letter",
        dead === null ? "none" : instant(dead),
        dead && h("a", { href: "#/dead-letters" }, "Look"),
      ],
    ]);
  }

  function open(page) {
    const urgent = page.data.filter((one) => one.urgent).length;
    return h(
      "section",
      { class: "card" },
      h("h2", null, "Open batches, the first deadline first"),
      page.data.length
        ? scrolling(
            "Open batches",
            table({
              plain: true,
              columns: [
                ["Batch", "lead"],
                ["Tenant", "break"],
                ["Status", ""],
                ["Progress", "wide"],
                ["Lane", ""],
                ["Slack", "num"],
                ["Priority", "num wide"],
              ],
              rows: page.data.map(row),
            }),
          )
        : h("p", { class: "dim" }, "No batch is open: the functions that work on batches are at zero."),
      page.data.length
        ? h(
            "p",
            { class: "dim after" },
            `${plural(urgent, "batch", "batches")} in the urgent lane.`,
            page.has_more ? ` More than ${MOST} batches are open. ` : " ",
            h("a", { href: "#/all-batches" }, "All batches"),
          )
        : null,
    );
  }

  function row(one) {
    const blocked = one.blocked_reason;
    return {
      key: one.id,
      cells: [
        twoLines(h("a", { href: `#/all-batches/${one.id}` }, h("code", null, one.id)), one.model),
        one.tenant,
        [
          badge(one.paused && one.status === "in_progress" ? "paused" : one.status),
          blocked && blocked !== "paused"
            ? h("span", { class: "sub warn" }, BLOCKED[blocked]?.[0] ?? title(blocked))
            : null,
        ],
        progress(one),
        one.urgent === null ? "–" : one.urgent ? h("strong", null, "urgent") : "fair",
        slack(one.expires_at - now()),
        one.priority,
      ],
    };
  }

  const slack = (seconds) => (seconds < 0 ? `${rough(-seconds)} overdue` : rough(seconds));

  function counted(head, name, rows) {
    return h(
      "section",
      { class: "card" },
      h("h2", null, head),
      rows.length
        ? table({
            plain: true,
            columns: [
              [name, "break"],
              ["Number", "num"],
            ],
            rows: rows.map(([text, n]) => ({ key: text, cells: [text, count(n)] })),
          })
        : h("p", { class: "dim" }, "None."),
    );
  }

  function tenantTable(tenants) {
    return table({
      caption: "Tenants",
      columns: [
        ["Tenant", "break"],
        ["Open batches", "num"],
        ["Their requests", "num"],
        ["Files", "num wide"],
        ["Stored", "num wide"],
        ["Weight", "num wide"],
      ],
      rows: tenants.map((one) => ({
        key: one.id,
        cells: [
          one.id,
          count(one.open_batches),
          count(one.queued_requests),
          count(one.files),
          bytes(one.stored_bytes),
          one.weight,
        ],
      })),
    });
  }

  return {
    title: "Queue",
    view: () => [heading("Queue"), loaded(list, content, () => polling.now())],
    close: () => polling.stop(),
  };
}
