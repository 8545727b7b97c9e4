// API keys, for operators: what each may do, when it was last used, new ones and their end.

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, instant, now } from "../format.js";
import { Loaded, poll } from "../live.js";
import { Pages, table, twoLines } from "../tables.js";
import { badge, bound, checks, copyable, dialog, empty, field, heading, loaded, select } from "../ui.js";

const PAGE = 50;
const DAY = 86_400;
const SCOPES = [
  ["read", "read: see batches, files and usage"],
  ["submit", "submit: create, change and delete them"],
  ["operate", "operate: the service as a whole, for all tenants"],
];
const LIFETIMES = [
  ["", "Never"],
  ["30", "In 30 days"],
  ["90", "In 90 days"],
  ["365", "In a year"],
];

export default function keys(app) {
  let form = null; // the key that is being made
  let secret = null; // of a new key; shown once
  let tenant = ""; // only its keys; "": those of all
  const pages = new Pages(() => {
    list.value = null;
    app.refresh();
    polling.now();
  });
  const list = new Loaded(app, (signal) =>
    get("admin/keys", { limit: PAGE, after: pages.after, tenant }, signal),
  );
  const polling = poll(
    (signal) => list.load(signal),
    () => 15_000,
  );

  const begin = () => (
    (form = { tenant: "", name: "", days: "90", scopes: new Set(["read", "submit"]) }),
    app.refresh()
  );

  async function save(event) {
    event.preventDefault();
    const body = {
      tenant: form.tenant.trim(),
      name: form.name.trim(),
      scopes: SCOPES.map(([scope]) => scope).filter((scope) => form.scopes.has(scope)),
    };
    if (form.days) body.expires_in_s = Number(form.days) * DAY;
    const made = await app.attempt(() => post("admin/keys", body));
    if (!made) return;
    form = null;
    secret = made;
    polling.now();
    app.refresh();
  }

  async function revoke(key) {
    const agreed = await app.confirm({
      title: "Revoke this key?",
      text: `Requests with ${key.name || key.id} are refused from now on. This cannot be undone.`,
      action: "Revoke",
      danger: true,
    });
    const path = `admin/keys/${encodeURIComponent(key.id)}/revoke`;
    if (agreed && (await app.attempt(() => post(path), "The key was revoked"))) polling.now();
  }

  const state = (key) =>
    key.revoked_at ? "revoked" : key.expires_at && key.expires_at < now() ? "expired" : "active";

  function content(page) {
    if (!page.data.length && tenant) return empty("No keys", `${tenant} has none.`);
    if (!page.data.length)
      return h(
        "div",
        { class: "state" },
        h("h2", null, "No API keys"),
        h("p", null, "A key opens the files and batches of one tenant."),
        h("button", { class: "primary", onclick: begin }, "Create the first key"),
      );
    return [keyTable(page.data), pages.view(page)];
  }

  function keyTable(found) {
    return table({
      caption: "API keys, the oldest first",
      columns: [
        ["Key", "break"],
        ["Tenant", "break"],
        ["Scopes", "wide"],
        ["State", ""],
        ["Last used", "wide"],
        ["Expires", "wide"],
        ["", "row-actions"],
      ],
      rows: found.map((key) => ({
        key: key.id,
        cells: [
          twoLines(h("strong", null, key.name || "unnamed"), h("code", null, key.id)),
          key.tenant,
          key.scopes.join(", "),
          badge(state(key)),
          h("span", { title: instant(key.last_used_at) }, key.last_used_at ? ago(key.last_used_at) : "never"),
          key.expires_at ? instant(key.expires_at) : "never",
          key.revoked_at
            ? null
            : h(
                "button",
                {
                  class: "small danger",
                  "aria-label": `Revoke ${key.name || key.id}`,
                  onclick: () => revoke(key),
                },
                "Revoke",
              ),
        ],
      })),
    });
  }

  function editor() {
    return dialog(
      { title: "New API key", onclose: () => ((form = null), app.refresh()) },
      h(
        "form",
        { onsubmit: save },
        field(
          "Tenant",
          bound(form, "tenant", { required: true, maxlength: "128" }),
          "The key opens this tenant's files and batches.",
        ),
        field("Name", bound(form, "name", { maxlength: "128" }), "The owner or the purpose of the key."),
        field(
          "Expires",
          select(LIFETIMES, form.days, (days) => (form.days = days)),
        ),
        checks(app, "Scopes", SCOPES, form.scopes),
        h(
          "div",
          { class: "actions end" },
          h("button", { class: "primary", disabled: !form.scopes.size }, "Create the key"),
        ),
      ),
    );
  }

  function told() {
    const done = () => ((secret = null), app.refresh());
    return dialog(
      { title: "The new key", onclose: done },
      h("p", null, "It is shown only now: the service stores only a digest of it."),
      h("p", null, copyable(app, secret.secret)),
      h("div", { class: "actions end" }, h("button", { class: "primary", onclick: done }, "I have kept it")),
    );
  }

  return {
    title: "API keys",
    view: () => [
      heading("API keys", h("button", { class: "primary", onclick: begin }, "New key")),
      h(
        "div",
        { class: "filters" },
        h("input", {
          type: "search",
          value: tenant,
          placeholder: "Tenant",
          "aria-label": "Keys of this tenant",
          onchange: (event) => ((tenant = event.target.value.trim()), pages.first()),
        }),
      ),
      loaded(list, content, () => polling.now()),
      form && editor(),
      secret && told(),
    ],
    close: () => polling.stop(),
  };
}
