// What was sent to webhook endpoints about a batch.

import { all } from "../api.js";
import { h } from "../dom.js";
import { Loaded } from "../live.js";
import { empty, loaded } from "../ui.js";
import { deliveryTable } from "./webhooks.js";

export class Deliveries {
  constructor(app, id) {
    this.list = new Loaded(app, async () => {
      const endpoints = await all("webhook_endpoints");
      const found = await Promise.all(
        endpoints.map(async (one) =>
          (await all(`webhook_endpoints/${one.id}/deliveries`, { most: 300 }))
            .filter((delivery) => delivery.batch_id === id)
            .map((delivery) => ({ ...delivery, url: one.url, name: one.name })),
        ),
      );
      return { endpoints, deliveries: found.flat().sort((a, b) => b.created_at - a.created_at) };
    });
  }

  opened() {
    this.list.load().catch(() => {});
  }

  view() {
    return loaded(this.list, ({ endpoints, deliveries }) => {
      if (!endpoints.length)
        return empty("No webhook endpoints", "An endpoint is told when batches end.", {
          href: "#/webhooks",
          text: "Add one",
        });
      if (!deliveries.length) return empty("Nothing was sent yet", "Endpoints are told when the batch ends.");
      return [
        h("div", { class: "card flush" }, deliveryTable(deliveries)),
        h("p", null, h("button", { onclick: () => this.opened() }, "Read again")),
      ];
    });
  }
}
