// What has happened to a batch: its states, what was done to it (for operators), and what webhook endpoints were told.

import { all, get } from "../api.js";
import { h } from "../dom.js";
import { instant } from "../format.js";
import { Loaded } from "../live.js";
import { strict } from "../session.js";
import { scrolling, table } from "../tables.js";
import { loaded } from "../ui.js";
import { steps } from "./batch-overview.js";
import { deliveryTable } from "./webhooks.js";

const MOST = 300; // entries of the audit log that are read

export class Events {
  /** `any`: of any tenant; operators see what its endpoints were told, and not the endpoints. */
  constructor(app, id, { any }) {
    this.app = app;
    this.deliveries = new Loaded(app, async () => {
      if (strict()) return { endpoints: [], found: [] };
      if (any) {
        const { data } = await get(`admin/batches/${id}/deliveries`);
        return { endpoints: null, found: data.map((one) => ({ ...one, name: one.endpoint_name })) };
      }
      const endpoints = await all("webhook_endpoints");
      const found = await Promise.all(
        endpoints.map(async (one) =>
          (await all(`webhook_endpoints/${one.id}/deliveries`, { batch_id: id })).map((delivery) => ({
            ...delivery,
            name: one.name,
          })),
        ),
      );
      return { endpoints, found: found.flat().sort((a, b) => b.created_at - a.created_at) };
    });
    this.audit = new Loaded(app, () => all("admin/audit", { target: id, most: MOST }));
  }

  opened() {
    this.deliveries.load().catch(() => {});
    if (this.app.session?.operator) this.audit.load().catch(() => {});
  }

  view(batch) {
    return h(
      "div",
      { class: "stack" },
      h("section", { class: "card" }, h("h2", null, "What has happened"), this.happened(batch)),
      h(
        "section",
        { class: "card" },
        h("h2", null, "Webhook deliveries"),
        loaded(
          this.deliveries,
          (value) => told(value),
          () => this.opened(),
        ),
      ),
      h("p", null, h("button", { onclick: () => this.opened() }, "Read again")),
    );
  }

  happened(batch) {
    const states = steps(batch).map((step) => ({ at: step.at, what: step.text, who: "" }));
    const done = (this.audit.value ?? []).map((entry) => ({
      at: Date.parse(entry.at) / 1000,
      what: `${entry.action}${entry.outcome === "ok" ? "" : `, ${entry.outcome} (${entry.status_code})`}`,
      who: [entry.tenant, entry.api_key_id, entry.operator ? "as operator" : null]
        .filter(Boolean)
        .join(" · "),
    }));
    const rows = [...states, ...done].sort((a, b) => a.at - b.at);
    return table({
      plain: true,
      columns: [
        ["Time", ""],
        ["Event", ""],
        ["By", "break"],
      ].slice(0, done.length ? 3 : 2),
      rows: rows.map((row, at) => ({
        key: at,
        cells: [instant(row.at), row.what, row.who].slice(0, done.length ? 3 : 2),
      })),
    });
  }
}

function told({ endpoints, found }) {
  if (found.length) return scrolling("Deliveries", deliveryTable(found));
  if (!endpoints) return h("p", { class: "dim" }, "No webhook endpoint of the tenant received it.");
  return h(
    "p",
    { class: "dim" },
    endpoints.length
      ? "Nothing was sent yet: endpoints receive a request when the batch ends. "
      : "No endpoint receives a request when batches end. ",
    endpoints.length ? null : h("a", { href: "#/webhooks" }, "Add an endpoint"),
  );
}
