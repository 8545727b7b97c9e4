// Events that no subscriber has taken, for operators: why, what is in them, and sending them again.

import { del, get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, instant } from "../format.js";
import { Loaded, poll } from "../live.js";
import { table, twoLines } from "../tables.js";
import { dialog, empty, facts, heading, loaded } from "../ui.js";

const MOST = 200;
const at = (letter) => `admin/dead_letters/${encodeURIComponent(letter.id)}`;

export default function deadLetters(app) {
  let open = null; // the letter whose content is shown
  const list = new Loaded(app, (signal) => get("admin/dead_letters", { limit: MOST }, signal));
  const polling = poll(
    (signal) => list.load(signal),
    () => 10_000,
  );

  async function look(letter) {
    open = (await app.attempt(() => get(at(letter)))) ?? null;
    app.refresh();
  }

  async function replay(letter) {
    const done = await app.attempt(() => post(`${at(letter)}/replay`), "The event was sent again");
    if (done) open = null;
    polling.now();
    app.refresh();
  }

  async function remove(letter) {
    const agreed = await app.confirm({
      title: "Delete this event?",
      text: "It is not sent again. Within minutes the janitor repairs the batches that depend on it. A webhook is not sent.",
      action: "Delete",
      danger: true,
    });
    if (agreed && (await app.attempt(() => del(at(letter)), "The event was deleted"))) polling.now();
  }

  function content(page) {
    if (!page.data.length) return empty("No dead letters", "Subscribers have taken all events.");
    return [
      table({
        caption: "Dead letters, the newest first",
        columns: [
          ["Event", "break"],
          ["Subscriber", "wide break"],
          ["Reason", "break"],
          ["Given up", "wide"],
          ["", "row-actions"],
        ],
        rows: page.data.map((letter) => ({
          key: letter.id,
          cells: [
            twoLines(letter.event_type, letter.subject ?? letter.event_id),
            letter.target,
            twoLines(letter.code, letter.reason),
            h("span", { title: instant(letter.died_at) }, ago(letter.died_at)),
            actions(letter),
          ],
        })),
      }),
      page.has_more ? h("p", { class: "dim after" }, `These are the newest ${MOST}; there are more.`) : null,
    ];
  }

  function actions(letter) {
    const button = (text, kind, act) =>
      h("button", { class: `small${kind}`, "aria-label": `${text} ${letter.event_id}`, onclick: act }, text);
    return [
      button("Look", "", () => look(letter)),
      button("Replay", "", () => replay(letter)),
      button("Delete", " danger", () => remove(letter)),
    ];
  }

  function detail() {
    return dialog(
      { title: open.event_type || "Event", wide: true, onclose: () => ((open = null), app.refresh()) },
      facts([
        ["Reason", `${open.code} ${open.reason}`.trim()],
        ["Subscriber", open.target],
        ["Source", open.source],
        ["Event id", open.event_id],
        ["Given up", instant(open.died_at)],
      ]),
      h("h3", null, "Attributes"),
      h("pre", { tabindex: "0", "aria-label": "Attributes" }, JSON.stringify(open.attributes, null, 2)),
      h("h3", null, "Data"),
      h("pre", { tabindex: "0", "aria-label": "Data" }, open.data),
      h(
        "div",
        { class: "actions end" },
        h("button", { class: "primary", onclick: () => replay(open) }, "Replay this event"),
      ),
    );
  }

  return {
    title: "Dead letters",
    view: () => [heading("Dead letters"), loaded(list, content, () => polling.now()), open && detail()],
    close: () => polling.stop(),
  };
}
