// Webhook endpoints: who is told when batches end, and what was said.

import { all, del, get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, instant } from "../format.js";
import { Loaded, poll } from "../live.js";
import { strict } from "../session.js";
import { scrolling, table, twoLines } from "../tables.js";
import { badge, bound, callout, checks, copyable, dialog, empty, field, heading, loaded } from "../ui.js";

export function deliveryTable(deliveries) {
  return table({
    caption: "Deliveries, the newest first",
    columns: [
      ["Event", "break"],
      ["Status", ""],
      ["Answer", "break"],
      ["Attempts", "num wide"],
      ["Last", "wide"],
      ["Next", "wide"],
    ],
    rows: deliveries.map((one) => ({
      key: one.id,
      cells: [
        twoLines(
          one.event_type,
          one.name ?? h("a", { href: `#/batches/${one.batch_id}` }, h("code", null, one.batch_id)),
        ),
        badge(one.status),
        twoLines(one.status_code ?? "–", one.error),
        one.attempts,
        one.attempted_at ? h("span", { title: instant(one.attempted_at) }, ago(one.attempted_at)) : "–",
        one.next_attempt_at ? ago(one.next_attempt_at) : "–",
      ],
    })),
  });
}

export default function webhooks(app) {
  let form = null; // the endpoint that is made or changed
  let secret = null; // shown once
  let log = null; // the deliveries that are shown: { endpoint, list }
  const list = new Loaded(app, () => all("webhook_endpoints"));
  const polling = poll(
    () => list.load(),
    () => 15_000,
  );
  let types = [];
  get("webhook_event_types")
    .then((found) => ((types = found.data), app.refresh()))
    .catch(() => {});

  const edit = (one) => (
    (form = {
      id: one?.id ?? null,
      name: one?.name ?? "",
      url: one?.url ?? "",
      types: new Set(one?.event_types ?? types),
    }),
    app.refresh()
  );

  async function save(event) {
    event.preventDefault();
    const body = { name: form.name.trim(), url: form.url.trim(), event_types: [...form.types] };
    const made = await app.attempt(() =>
      post(form.id ? `webhook_endpoints/${form.id}` : "webhook_endpoints", body),
    );
    if (!made) return;
    if (!form.id) secret = made;
    form = null;
    polling.now();
    app.refresh();
  }

  async function rotate(one) {
    const agreed = await app.confirm({
      title: "Make a new secret?",
      text: "The old secret stays valid for 24 hours, so that you can change the receiver.",
      action: "Make a new secret",
    });
    if (!agreed) return;
    secret =
      (await app.attempt(() =>
        post(`webhook_endpoints/${one.id}/rotate_secret`, { keep_old_secret_active_for_24_hours: true }),
      )) ?? null;
    app.refresh();
  }

  async function remove(one) {
    const agreed = await app.confirm({
      title: "Delete this endpoint?",
      text: `${one.name} is told nothing more.`,
      action: "Delete",
      danger: true,
    });
    if (agreed && (await app.attempt(() => del(`webhook_endpoints/${one.id}`), "The endpoint was deleted")))
      polling.now();
  }

  const test = (one) =>
    app.attempt(
      () => post(`webhook_endpoints/${one.id}/test`, { event_type: one.event_types[0] }),
      (answer) => `The endpoint answered ${answer.status_code}`,
    );

  function look(one) {
    log = {
      endpoint: one,
      list: new Loaded(app, () => all(`webhook_endpoints/${one.id}/deliveries`, { most: 200 })),
    };
    log.list.load().catch(() => {});
  }

  function endpoints(found) {
    if (!found.length)
      return h(
        "div",
        { class: "state" },
        h("h2", null, "No webhook endpoints"),
        h("p", null, "An endpoint is an HTTPS address that receives a request when a batch ends."),
        h("button", { class: "primary", onclick: () => edit(null) }, "Add an endpoint"),
      );
    return h(
      "ul",
      { class: "cards" },
      found.map((one) =>
        h(
          "li",
          { class: "card", key: one.id },
          h(
            "div",
            { class: "heading" },
            h("h2", null, one.name, one.disabled_at ? badge("disabled") : null),
            h(
              "div",
              { class: "actions" },
              h("button", { class: "small", onclick: () => test(one) }, "Test"),
              strict() ? null : h("button", { class: "small", onclick: () => look(one) }, "Deliveries"),
              h("button", { class: "small", onclick: () => edit(one) }, "Edit"),
              h("button", { class: "small", onclick: () => rotate(one) }, "New secret"),
              h("button", { class: "small danger", onclick: () => remove(one) }, "Delete"),
            ),
          ),
          h("p", { class: "break" }, h("code", null, one.url)),
          h("p", { class: "dim" }, one.event_types.join(", ")),
          one.disabled_at
            ? callout(
                "warn",
                "Switched off",
                h(
                  "p",
                  null,
                  `Since ${instant(one.disabled_at)}, because deliveries failed for too long. Saving it again switches it on.`,
                ),
              )
            : null,
        ),
      ),
    );
  }

  function editor() {
    return dialog(
      {
        title: form.id ? "Edit the endpoint" : "New endpoint",
        onclose: () => ((form = null), app.refresh()),
      },
      h(
        "form",
        { onsubmit: save },
        field("Name", bound(form, "name", { required: true, maxlength: "256" })),
        field("URL", bound(form, "url", { type: "url", required: true, placeholder: "https://" })),
        checks(
          app,
          "Told about",
          types.map((type) => [type, type]),
          form.types,
        ),
        h(
          "div",
          { class: "actions end" },
          h("button", { class: "primary", disabled: !form.types.size }, "Save"),
        ),
      ),
    );
  }

  function told() {
    return dialog(
      { title: "Signing secret", onclose: () => ((secret = null), app.refresh()) },
      h("p", null, "Requests to the endpoint are signed with it. It is shown only now."),
      h("p", null, copyable(app, secret.signing_secret)),
      h(
        "div",
        { class: "actions end" },
        h("button", { class: "primary", onclick: () => ((secret = null), app.refresh()) }, "I have kept it"),
      ),
    );
  }

  function deliveries() {
    return dialog(
      {
        title: `Deliveries to ${log.endpoint.name}`,
        wide: true,
        onclose: () => ((log = null), app.refresh()),
      },
      loaded(log.list, (found) =>
        found.length
          ? scrolling("Deliveries", deliveryTable(found))
          : empty("Nothing was sent yet", "The endpoint receives a request when a batch ends."),
      ),
    );
  }

  return {
    title: "Webhooks",
    view: () => [
      heading("Webhooks", h("button", { class: "primary", onclick: () => edit(null) }, "Add an endpoint")),
      loaded(list, endpoints, () => polling.now()),
      form && editor(),
      secret && told(),
      log && deliveries(),
    ],
    close: () => polling.stop(),
  };
}
