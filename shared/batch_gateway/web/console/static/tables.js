// Tables, and listings that are read page by page.

import { h } from "./dom.js";

/** A table. `columns`: [title, class]; a column without a title has no header. `rows`: { key, cells, class },
 *  with the content of each cell. `plain`: it stands in a card; `heads`: the first cell of a row names it. */
export function table({ caption = null, columns, rows, plain = false, heads = false }) {
  const kinds = columns.map(([, kind]) => kind || null);
  const cell = (content, at) =>
    heads && at === 0
      ? h("th", { scope: "row", class: kinds[at] }, content)
      : h("td", { class: kinds[at] }, content);
  return h(
    "table",
    { class: plain ? "rows plain" : "rows" },
    caption && h("caption", { class: "hidden" }, caption),
    columns.some(([text]) => text) &&
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map(([text, kind]) =>
            text ? h("th", { scope: "col", class: kind || null }, text) : h("td", { class: kind || null }),
          ),
        ),
      ),
    h(
      "tbody",
      null,
      rows.map((row) => h("tr", { key: row.key, class: row.class ?? null }, row.cells.map(cell))),
    ),
  );
}

/** Content that may be wider than the page, and is scrolled by itself. */
export function scrolling(label, content) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, content);
}

/** A cell with a second line. */
export const twoLines = (first, second) => [first, second ? h("span", { class: "sub break" }, second) : null];

/** Which page of a listing is shown. `changed` reads it anew. */
export class Pages {
  constructor(changed) {
    Object.assign(this, { changed, after: null, trail: [] }); // `trail`: the cursors of the pages before
  }

  first() {
    Object.assign(this, { after: null, trail: [] });
    this.changed();
  }

  newer() {
    this.after = this.trail.pop() || null;
    this.changed();
  }

  older(page) {
    this.trail.push(this.after ?? "");
    this.after = page.data.at(-1).id;
    this.changed();
  }

  /** What leads to the pages before and behind `page`; nothing when it is the only one. */
  view(page) {
    if (!this.trail.length && !page.has_more) return null;
    return h(
      "nav",
      { class: "pager", "aria-label": "Pages" },
      h("button", { disabled: !this.trail.length, onclick: () => this.newer() }, "Newer"),
      h("span", null, `Page ${this.trail.length + 1}`),
      h("button", { disabled: !page.has_more, onclick: () => this.older(page) }, "Older"),
    );
  }
}
