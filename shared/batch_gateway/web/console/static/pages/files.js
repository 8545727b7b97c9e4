// The tenant's files: uploaded inputs and produced results.

import { del, download, get } from "../api.js";
import { h } from "../dom.js";
import { ago, bytes, instant } from "../format.js";
import { Loaded, poll } from "../live.js";
import { Pages, table, twoLines } from "../tables.js";
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
  let purpose = "";
  const id = query.get("id");
  const pages = new Pages(() => {
    list.value = null;
    app.refresh();
    polling.now();
  });

  const list = new Loaded(app, async (signal) =>
    id
      ? { data: [await get(`files/${encodeURIComponent(id)}`, {}, signal)], has_more: false }
      : get("files", { limit: PAGE, after: pages.after, purpose }, signal),
  );
  const polling = poll(
    (signal) => list.load(signal),
    () => 10_000,
  );

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
          : select(PURPOSES, purpose, (wanted) => ((purpose = wanted), pages.first()), {
              "aria-label": "Purpose",
            }),
      ),
      loaded(list, content, () => polling.now()),
    ];
  }

  function content(page) {
    if (!page.data.length)
      return empty("No files", "This page lists the inputs that you upload and the results of batches.", {
        href: "#/new",
        text: "Upload a file",
      });
    return [
      table({
        caption: "Files, the newest first",
        columns: [
          ["File", ""],
          ["Purpose", "wide"],
          ["Size", "num"],
          ["Created", "wide"],
          ["Kept until", "wide"],
          ["", "row-actions"],
        ],
        rows: page.data.map((file) => ({
          key: file.id,
          cells: [
            twoLines(h("strong", { class: "break" }, file.filename), copyable(app, file.id)),
            file.purpose.replaceAll("_", " "),
            bytes(file.bytes),
            h("span", { title: instant(file.created_at) }, ago(file.created_at)),
            file.expires_at ? instant(file.expires_at) : "for ever",
            actions(file),
          ],
        })),
      }),
      pages.view(page),
    ];
  }

  function actions(file) {
    const button = (text, kind, act) =>
      h("button", { class: `small${kind}`, "aria-label": `${text} ${file.filename}`, onclick: act }, text);
    return [
      file.purpose === "batch"
        ? h("a", { class: "button small", href: `#/new?file=${file.id}` }, "Use")
        : null,
      CLOSED.has(file.purpose)
        ? null
        : button("Download", "", () => app.attempt(() => download(file.id, file.filename))),
      button("Delete", " danger", () => remove(file)),
    ];
  }

  return { title: "Files", view, close: () => polling.stop() };
}
