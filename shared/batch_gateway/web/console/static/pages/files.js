// The tenant's files: uploaded inputs and produced results.

import { del, download, get } from "../api.js";
import { h } from "../dom.js";
import { ago, bytes, instant } from "../format.js";
import { Loaded, poll } from "../live.js";
import { copyable, empty, heading, loaded, select } from "../ui.js";

const PAGE = 50;
const PURPOSES = [
  ["", "All files"],
  ["batch", "Inputs of batches"],
  ["batch_output", "Results of batches"],
  ["user_data", "User data"],
  ["fine-tune", "Fine-tuning"],
  ["assistants", "Assistants"],
];
const CLOSED = new Set(["assistants", "user_data"]); // contents that the API does not give back

export default function files(app, _path, query) {
  const trail = [];
  let after = null;
  let purpose = "";
  const id = query.get("id");
  const list = new Loaded(app, async (signal) =>
    id
      ? { data: [await get(`files/${encodeURIComponent(id)}`, {}, signal)], has_more: false }
      : get("files", { limit: PAGE, after, purpose }, signal),
  );
  const polling = poll(
    (signal) => list.load(signal),
    () => 10_000,
  );

  function turned(cursor, before) {
    after = cursor;
    trail.splice(0, trail.length, ...before);
    list.value = null;
    app.refresh();
    polling.now();
  }

  async function remove(file) {
    const agreed = await app.confirm({
      title: "Delete this file?",
      text: `${file.filename} cannot be brought back. Batches that still read it fail.`,
      action: "Delete",
      danger: true,
    });
    if (agreed && (await app.attempt(() => del(`files/${file.id}`), "The file was deleted"))) polling.now();
  }

  function view() {
    return [
      heading("Files", h("a", { class: "button primary", href: "#/new" }, "Upload for a batch")),
      h(
        "div",
        { class: "filters" },
        id
          ? h("a", { class: "chip", href: "#/files" }, `${id} ×`)
          : select(PURPOSES, purpose, (wanted) => ((purpose = wanted), turned(null, [])), {
              "aria-label": "Purpose",
            }),
      ),
      loaded(list, table, () => polling.now()),
    ];
  }

  function table(page) {
    if (!page.data.length)
      return empty("No files", "Inputs that you upload and results of batches stand here.", {
        href: "#/new",
        text: "Upload a file",
      });
    return [
      h(
        "table",
        { class: "rows" },
        h("caption", { class: "hidden" }, "Files, the newest first"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            [
              ["File", ""],
              ["Purpose", "wide"],
              ["Size", "num"],
              ["Created", "wide"],
              ["Kept until", "wide"],
              ["", ""],
            ].map(([text, kind]) => (text ? h("th", { scope: "col", class: kind }, text) : h("td", null))),
          ),
        ),
        h(
          "tbody",
          null,
          page.data.map((file) =>
            h(
              "tr",
              { key: file.id },
              h(
                "td",
                null,
                h("strong", { class: "break" }, file.filename),
                h("span", { class: "sub" }, copyable(app, file.id)),
              ),
              h("td", { class: "wide" }, file.purpose.replaceAll("_", " ")),
              h("td", { class: "num" }, bytes(file.bytes)),
              h("td", { class: "wide", title: instant(file.created_at) }, ago(file.created_at)),
              h("td", { class: "wide" }, file.expires_at ? instant(file.expires_at) : "for ever"),
              h(
                "td",
                { class: "row-actions" },
                file.purpose === "batch"
                  ? h("a", { class: "button small", href: `#/new?file=${file.id}` }, "Use")
                  : null,
                CLOSED.has(file.purpose)
                  ? null
                  : h(
                      "button",
                      {
                        class: "small",
                        "aria-label": `Download ${file.filename}`,
                        onclick: () => app.attempt(() => download(file.id, file.filename)),
                      },
                      "Download",
                    ),
                h(
                  "button",
                  {
                    class: "small danger",
                    "aria-label": `Delete ${file.filename}`,
                    onclick: () => remove(file),
                  },
                  "Delete",
                ),
              ),
            ),
          ),
        ),
      ),
      trail.length || page.has_more
        ? h(
            "nav",
            { class: "pager", "aria-label": "Pages" },
            h(
              "button",
              { disabled: !trail.length, onclick: () => turned(trail.at(-1) || null, trail.slice(0, -1)) },
              "Newer",
            ),
            h("span", null, `Page ${trail.length + 1}`),
            h(
              "button",
              {
                disabled: !page.has_more,
                onclick: () => turned(page.data.at(-1).id, [...trail, after ?? ""]),
              },
              "Older",
            ),
          )
        : null,
    ];
  }

  return { title: "Files", view, close: () => polling.stop() };
}
