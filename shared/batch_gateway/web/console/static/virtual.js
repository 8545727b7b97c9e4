// A long list of which only the rows in sight exist.

import { h } from "./dom.js";

const AROUND = 8; // rows beyond the edges, so that scrolling shows no gaps

export class LongList {
  constructor(app, { label, height }) {
    Object.assign(this, { app, label, height, top: 0, room: 480 });
  }

  /** `row(index)` is the inside of a row. Rows have one height, so the place of each is known. */
  view(total, row, onopen) {
    const first = Math.max(0, Math.floor(this.top / this.height) - AROUND);
    const last = Math.min(total, Math.ceil((this.top + this.room) / this.height) + AROUND);
    const shown = [];
    for (let at = first; at < last; at += 1) {
      shown.push(
        h(
          "li",
          {
            key: at,
            class: "long-row",
            "aria-posinset": String(at + 1),
            "aria-setsize": String(total),
            style: { top: `${at * this.height}px`, height: `${this.height}px` },
          },
          h(
            "button",
            {
              class: "long-open",
              onclick: () => onopen(at),
              onkeydown: (event) => this.step(event, at, total),
            },
            row(at),
          ),
        ),
      );
    }
    return h(
      "div",
      {
        key: "long",
        class: "long",
        tabindex: "0",
        role: "region",
        "aria-label": this.label,
        onscroll: (event) => this.moved(event.currentTarget),
        ref: (node) => this.measure(node),
      },
      h("ul", { style: { height: `${total * this.height}px` } }, shown),
    );
  }

  measure(node) {
    this.node = node;
    this.moved(node);
  }

  moved(node) {
    if (this.top === node.scrollTop && this.room === node.clientHeight) return;
    Object.assign(this, { top: node.scrollTop, room: node.clientHeight || this.room });
    this.app.refresh();
  }

  /** Arrow keys go from row to row. */
  step(event, at, total) {
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: total - 1 }[event.key];
    if (to === undefined || to < 0 || to >= total) return;
    event.preventDefault();
    const edge = to * this.height;
    if (edge < this.node.scrollTop) this.node.scrollTop = edge;
    if (edge + this.height > this.node.scrollTop + this.node.clientHeight)
      this.node.scrollTop = edge + this.height - this.node.clientHeight;
    this.moved(this.node);
    requestAnimationFrame(() =>
      requestAnimationFrame(() => this.node.querySelector(`[aria-posinset="${to + 1}"] button`)?.focus()),
    );
  }
}
