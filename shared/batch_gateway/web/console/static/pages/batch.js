// One batch: its head and its parts.

import { del, download, get, post } from "../api.js";
import { h } from "../dom.js";
import { ago, count, instant, now, plural, rough } from "../format.js";
import { Loaded, poll } from "../live.js";
import { Results } from "../results.js";
import { strict } from "../session.js";
import {
  BLOCKED,
  badge,
  callout,
  copyable,
  dialog,
  ended,
  field,
  loaded,
  named,
  progress,
  select,
  share,
} from "../ui.js";
import { Events } from "./batch-events.js";
import { Errors, ErrorsTold } from "./batch-errors.js";
import { Overview } from "./batch-overview.js";
import { ResultList } from "./batch-results.js";

/** Where a batch is: in the API, and in the console. */
const OWN = { api: "batches", page: "batches", list: "Batches" };
const ANY = { api: "admin/batches", page: "all-batches", list: "All batches" };

/** A batch of the tenant, or one of any tenant (`any`) as operators see it: without requests and answers. */
export default function batch(app, path, query, { any = false } = {}) {
  const [id] = path;
  const place = any ? ANY : OWN;
  const page = { title: id, view, close, at };
  const one = new Loaded(app, (signal) => get(`${place.api}/${encodeURIComponent(id)}`, {}, signal));
  const results = any || strict() ? null : new Results(app, id);
  const parts = {
    overview: new Overview(app, one, id, place),
    results: new ResultList(app, results),
    errors: any ? new ErrorsTold() : new Errors(app, one, results),
    events: new Events(app, id, { any }),
  };
  let part = "";
  let changing = null; // the open form for priority and window
  const polling = poll(read, () => (one.value && ended(one.value) ? 15_000 : 1500));
  open(path, query);

  async function read(signal) {
    const before = one.value?.status;
    const found = await one.load(signal);
    page.title = named(found) ?? id;
    parts.overview.seen(found);
    if (before && before !== found.status && ended(found)) app.toast(`The batch is ${found.status}`);
  }

  function open([, name = "overview"], asked) {
    const wanted = name in parts && (results || name !== "results") ? name : "overview";
    if (wanted !== part) {
      parts[part]?.closed?.();
      part = wanted;
    }
    parts[part].opened?.(asked);
  }

  function at(wanted, asked) {
    if (wanted[0] !== place.page || wanted[1] !== id) return false;
    open(wanted.slice(1), asked);
    return true;
  }

  function close() {
    polling.stop();
    results?.stop();
    for (const each of Object.values(parts)) each.closed?.();
  }

  async function act(verb, body, said) {
    const answer = await app.attempt(() => post(`${place.api}/${id}/${verb}`, body), said);
    if (answer?.id === id) one.value = { ...one.value, ...answer };
    polling.now();
    return answer;
  }

  async function cancel() {
    const agreed = await app.confirm({
      title: "Cancel this batch?",
      text: "Running requests are aborted. Finished results are kept, and you can download them.",
      action: "Cancel the batch",
      danger: true,
    });
    if (agreed) await act("cancel", {}, "The batch is being cancelled");
  }

  async function retry() {
    const made = await act("retry", {}, null);
    if (made) {
      app.toast("A new batch runs what did not succeed");
      app.go(`#/batches/${made.id}`);
    }
  }

  async function remove() {
    const agreed = await app.confirm({
      title: "Delete this batch?",
      text: "Its files stay. This cannot be undone.",
      action: "Delete",
      danger: true,
    });
    if (agreed && (await app.attempt(() => del(`batches/${id}`), "The batch was deleted")))
      app.go("#/batches");
  }

  async function change(event) {
    event.preventDefault();
    const wanted = changing;
    changing = null;
    app.refresh();
    await act("update", { priority: Number(wanted.priority), completion_window: wanted.window }, "Changed");
  }

  function view() {
    return loaded(
      one,
      (found) => [head(found), notices(found), tabs(found), parts[part].view(found), changing && form()],
      () => polling.now(),
    );
  }

  function head(found) {
    const name = named(found);
    return [
      h("p", { class: "crumbs" }, h("a", { href: `#/${place.page}` }, place.list)),
      h(
        "div",
        { class: "heading" },
        h(
          "div",
          null,
          h(
            "h1",
            null,
            name ?? "Batch",
            " ",
            badge(found.paused && found.status === "in_progress" ? "paused" : found.status),
          ),
          h(
            "p",
            { class: "sub" },
            copyable(app, found.id),
            any ? ` · tenant ${found.tenant}` : "",
            found.dry_run ? " · dry run" : "",
            found.model ? ` · ${found.model}` : "",
            ` · ${found.endpoint} · created ${ago(found.created_at)}`,
          ),
        ),
        h("div", { class: "actions" }, actions(found)),
      ),
      h(
        "div",
        { class: "card summary" },
        found.request_counts.total ? h("div", { class: "wide-progress" }, progress(found)) : null,
        h("p", { class: "when", role: "status" }, when(found)),
      ),
    ];
  }

  function actions(found) {
    const running = !ended(found) && found.status !== "cancelling";
    const stop = running && h("button", { key: "Cancel", class: "danger", onclick: cancel }, "Cancel");
    if (any) return [stop].filter(Boolean);
    return [
      found.output_file_id &&
        h(
          "button",
          {
            class: "primary",
            onclick: () => app.attempt(() => download(found.output_file_id, `${id}_output.jsonl`)),
          },
          "Download results",
        ),
      found.error_file_id &&
        h(
          "button",
          { onclick: () => app.attempt(() => download(found.error_file_id, `${id}_errors.jsonl`)) },
          "Download errors",
        ),
      !strict() &&
        running &&
        (found.paused
          ? h("button", { onclick: () => act("resume", {}, "The batch is resumed") }, "Resume")
          : h("button", { onclick: () => act("pause", {}, "The batch is paused") }, "Pause")),
      !strict() &&
        running &&
        h(
          "button",
          {
            onclick: () => (
              (changing = { priority: String(found.priority), window: found.completion_window }),
              app.refresh()
            ),
          },
          "Change",
        ),
      stop,
      !strict() &&
        ended(found) &&
        !found.dry_run &&
        (found.request_counts.failed > 0 || found.status !== "completed") &&
        found.request_counts.total > 0 &&
        h("button", { onclick: retry }, "Retry what failed"),
      !strict() && ended(found) && h("button", { class: "danger", onclick: remove }, "Delete"),
    ]
      .filter(Boolean)
      .map((button) => ((button.key = button.children[0].text), button));
  }

  function when(found) {
    if (ended(found)) {
      const at = found.completed_at ?? found.failed_at ?? found.expired_at ?? found.cancelled_at;
      return `Ended ${ago(at)}, at ${instant(at)}`;
    }
    const due = `deadline ${instant(found.expires_at)} (in ${rough(Math.max(0, found.expires_at - now()))})`;
    if (found.estimated_completion_at)
      return `${share(found)} done, ready in about ${rough(Math.max(1, found.estimated_completion_at - now()))}, ${due}`;
    return `${found.request_counts.total ? `${share(found)} done, ` : ""}${due}`;
  }

  function notices(found) {
    const reason = ended(found) ? null : found.blocked_reason;
    const [text, more] = BLOCKED[reason] ?? [];
    const errors = found.errors?.data ?? [];
    return [
      reason &&
        callout(
          "warn",
          text ?? reason,
          h("p", null, more),
          reason === "engine_saturated" || reason === "waiting_for_model"
            ? h("p", null, h("a", { href: "#/models" }, "Look at the models"))
            : null,
        ),
      errors.length && part !== "errors"
        ? callout(
            "bad",
            found.status === "failed" ? "The batch failed" : "The batch was stopped",
            h(
              "p",
              null,
              errors[0].message,
              errors.length > 1 ? ` And ${plural(errors.length - 1, "more problem")}.` : "",
            ),
            h(
              "p",
              null,
              h(
                "a",
                { href: `#/${place.page}/${id}/errors` },
                any ? "Look at the errors" : "Understand and fix",
              ),
            ),
          )
        : null,
    ];
  }

  function tabs(found) {
    const { failed, completed } = found.request_counts;
    const names = [
      ["overview", "Overview"],
      results && ["results", `Results ${count(completed + failed)}`],
      ["errors", `Errors ${count(failed + (found.errors?.data.length ?? 0))}`],
      ["events", "Events"],
    ];
    return h(
      "nav",
      { class: "tabs", "aria-label": "Parts of the batch" },
      names.filter(Boolean).map(([name, text]) =>
        h(
          "a",
          {
            key: name,
            href: `#/${place.page}/${id}${name === "overview" ? "" : `/${name}`}`,
            "aria-current": part === name ? "page" : null,
          },
          text,
        ),
      ),
    );
  }

  function form() {
    return dialog(
      { title: "Change the batch", onclose: () => ((changing = null), app.refresh()) },
      h(
        "form",
        { onsubmit: change },
        field(
          "Priority",
          select(
            Array.from({ length: 10 }, (_, n) => [
              String(n),
              n === 0 ? "0 – first" : n === 9 ? "9 – last" : String(n),
            ]),
            changing.priority,
            (priority) => (changing.priority = priority),
          ),
          "Among your own batches; smaller goes first.",
        ),
        field(
          "Completion window",
          h("input", {
            value: changing.window,
            required: true,
            pattern: "[0-9]+[mhd]",
            oninput: (event) => (changing.window = event.target.value),
          }),
          "Counted from the batch's creation: 90m, 24h, 7d.",
        ),
        h("div", { class: "actions end" }, h("button", { class: "primary" }, "Save")),
      ),
    );
  }

  return page;
}
