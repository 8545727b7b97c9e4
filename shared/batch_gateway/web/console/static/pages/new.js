// A new batch: choose a file, let the service check it, see what it will cost, submit.

import { del, get, post, upload } from "../api.js";
import { h } from "../dom.js";
import { bytes } from "../format.js";
import { session, strict } from "../session.js";
import { bound, ended, field, heading, problem, select, tick } from "../ui.js";
import { estimate, wrong } from "./new-check.js";

const ENDPOINTS = [
  "/v1/chat/completions",
  "/v1/responses",
  "/v1/completions",
  "/v1/embeddings",
  "/v1/moderations",
];
const WINDOWS = [
  ["1h", "1 hour"],
  ["6h", "6 hours"],
  ["24h", "24 hours"],
  ["3d", "3 days"],
  ["7d", "7 days"],
  ["30d", "30 days"],
];
const PEEK = 256 * 1024; // bytes of a file that the browser looks at

export default function newBatch(app, _path, query) {
  const state = {
    file: null, // of this machine
    sent: 0, // share of it that was uploaded
    input: query.get("file"), // id of the file in the service
    name: query.get("file"),
    dry: null, // the batch that checks the file
    error: null,
    busy: false,
    over: false, // whether a file is held over the page
    form: {
      endpoint: query.get("endpoint") ?? ENDPOINTS[0],
      window: strict() ? "24h" : (query.get("window") ?? "24h"),
      name: "",
      priority: "5",
      skip: false,
      deduplicate: false,
      max_errors: "",
      max_error_rate: "",
      max_total_tokens: "",
      max_cost: "",
    },
  };
  const leaving = new AbortController();
  if (state.input) known(state.input);

  async function known(id) {
    try {
      const file = await get(`files/${encodeURIComponent(id)}`);
      state.name = file.filename;
      state.size = file.bytes;
      if (!query.has("endpoint")) await peek(await content(id));
      await check();
    } catch (error) {
      told(error);
    }
  }

  async function content(id) {
    const { fetched } = await import("../api.js");
    const answer = await fetched("GET", `files/${encodeURIComponent(id)}/content`, {
      signal: leaving.signal,
    });
    const reader = answer.body.getReader();
    const { value } = await reader.read();
    reader.cancel().catch(() => {});
    return new Blob(value ? [value] : []);
  }

  function told(error) {
    if (error.name === "AbortError") return;
    Object.assign(state, { error, busy: false });
    app.refresh();
  }

  /** What the first lines say: where the requests go. */
  async function peek(blob) {
    const [first = ""] = (await blob.slice(0, PEEK).text()).split("\n").filter((line) => line.trim());
    try {
      const { url } = JSON.parse(first);
      if (typeof url === "string" && url.startsWith("/v1/")) state.form.endpoint = url;
    } catch {
      // The service's own check reports what is wrong with the line.
    }
  }

  async function take(file) {
    if (!file || state.busy) return;
    Object.assign(state, {
      file,
      name: file.name,
      size: file.size,
      input: null,
      dry: null,
      error: null,
      sent: 0,
      over: false,
    });
    if (file.size > session.config.max_file_bytes)
      return told(
        new Error(
          `The file has ${bytes(file.size)}; the service takes ${bytes(session.config.max_file_bytes)} at most.`,
        ),
      );
    if (!file.size) return told(new Error("The file is empty."));
    state.busy = true;
    app.refresh();
    try {
      await peek(file);
      const made = await upload(file, {
        signal: leaving.signal,
        progress: (share) => ((state.sent = share), app.refresh()),
      });
      state.input = made.id;
      state.busy = false;
      await check();
    } catch (error) {
      told(error);
    }
  }

  /** Let the service validate, count and estimate without running anything. */
  async function check() {
    if (strict()) return app.refresh();
    Object.assign(state, { busy: true, dry: null, error: null });
    app.refresh();
    const { input } = state;
    try {
      let dry = await post("batches", {
        input_file_id: input,
        endpoint: state.form.endpoint,
        completion_window: state.form.window,
        dry_run: true,
        on_invalid_line: state.form.skip ? "skip" : "fail",
        metadata: { name: `Check of ${state.name}`.slice(0, 500) },
      });
      while (!ended(dry) && !leaving.signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, 400));
        dry = await get(`batches/${dry.id}`, {}, leaving.signal);
      }
      Object.assign(state, { dry, busy: false });
      if (dry.status === "completed") del(`batches/${dry.id}`).catch(() => {}); // it has said all it knows
      app.refresh();
    } catch (error) {
      told(error);
    }
    return undefined;
  }

  async function submit(event) {
    event.preventDefault();
    const { form } = state;
    const body = { input_file_id: state.input, endpoint: form.endpoint, completion_window: form.window };
    if (form.name.trim()) body.metadata = { name: form.name.trim() };
    if (!strict()) {
      body.priority = Number(form.priority);
      if (form.skip) body.on_invalid_line = "skip";
      if (form.deduplicate) body.deduplicate = true;
      for (const name of ["max_errors", "max_error_rate", "max_total_tokens", "max_cost"])
        if (form[name] !== "")
          body[name] = name === "max_error_rate" ? Number(form[name]) / 100 : Number(form[name]);
    }
    state.busy = true;
    app.refresh();
    const made = await app.attempt(() => post("batches", body), "The batch was submitted");
    state.busy = false;
    if (made) app.go(`#/batches/${made.id}`);
    else app.refresh();
  }

  const changed =
    (name, again = false) =>
    (value) => {
      state.form[name] = value;
      if (again && state.input) check();
      app.refresh();
    };

  function view() {
    return [
      heading("New batch"),
      h("div", { class: "steps" }, source(), state.name ? checked() : null, state.input ? options() : null),
    ];
  }

  function source() {
    return h(
      "section",
      {
        class: state.over ? "card drop over" : "card drop",
        ondragover: (event) => (event.preventDefault(), state.over || ((state.over = true), app.refresh())),
        ondragleave: () => ((state.over = false), app.refresh()),
        ondrop: (event) => (event.preventDefault(), take(event.dataTransfer.files[0])),
      },
      h("h2", null, "1. Requests"),
      h(
        "p",
        null,
        "Drop a JSONL file here, one request a line, or choose one. ",
        h("a", { href: "#/files" }, "Use a file that is already there."),
      ),
      h(
        "div",
        { class: "picker" },
        h("label", { for: "file" }, "JSONL file"),
        h("input", {
          id: "file",
          type: "file",
          accept: ".jsonl,.ndjson,application/jsonl",
          disabled: state.busy,
          onchange: (event) => take(event.target.files[0]),
        }),
      ),
      state.name
        ? h(
            "p",
            null,
            h("strong", { class: "break" }, state.name),
            state.size ? ` · ${bytes(state.size)}` : "",
          )
        : null,
      state.file && !state.input && state.busy
        ? h(
            "div",
            {
              class: "bar upload",
              role: "progressbar",
              "aria-label": "Upload",
              "aria-valuemin": "0",
              "aria-valuemax": "100",
              "aria-valuenow": String(Math.round(state.sent * 100)),
            },
            h("span", { class: "ok", style: { width: `${state.sent * 100}%` } }),
          )
        : null,
    );
  }

  function checked() {
    const { dry, error } = state;
    if (error)
      return h(
        "section",
        { class: "card" },
        h("h2", null, "2. Check"),
        problem(error, state.input ? check : null),
      );
    if (strict()) return null;
    return h(
      "section",
      { class: "card", role: "status" },
      h("h2", null, "2. Check"),
      !dry
        ? h("p", { class: "busy" }, state.input ? "The service reads the file …" : "The file is on its way …")
        : dry.status === "completed"
          ? estimate(dry)
          : wrong(dry, () => changed("skip", true)(true)),
    );
  }

  function options() {
    const { form } = state;
    const number = (name, props) =>
      bound(form, name, { type: "number", inputmode: "numeric", min: "0", ...props });
    const ready = strict() || state.dry?.status === "completed";
    const endpoints = [...new Set([...ENDPOINTS, form.endpoint])].map((one) => [one, one]);
    return h(
      "form",
      { class: "card", onsubmit: submit },
      h("h2", null, strict() ? "2. Options" : "3. Options"),
      h(
        "div",
        { class: "grid" },
        field(
          "Endpoint",
          select(
            strict()
              ? endpoints
              : [...endpoints, ["*", "as each request says"]].filter(
                  ([one], at, all) => all.findIndex(([other]) => other === one) === at,
                ),
            form.endpoint,
            changed("endpoint", true),
          ),
        ),
        field(
          "Completion window",
          select(
            strict()
              ? [["24h", "24 hours"]]
              : WINDOWS.some(([one]) => one === form.window)
                ? WINDOWS
                : [[form.window, form.window], ...WINDOWS],
            form.window,
            changed("window"),
          ),
          "Requests that are not finished by then expire.",
        ),
        field("Name", bound(form, "name", { maxlength: "512" }), "A note to find it by; may be empty."),
        strict()
          ? null
          : field(
              "Priority",
              select(
                Array.from({ length: 10 }, (_, n) => [
                  String(n),
                  n === 0 ? "0 – first" : n === 9 ? "9 – last" : String(n),
                ]),
                form.priority,
                changed("priority"),
              ),
              "Among your own batches.",
            ),
      ),
      strict()
        ? null
        : h(
            "details",
            null,
            h("summary", null, "More options"),
            h(
              "div",
              { class: "grid" },
              tick("Bad lines become errors, the rest runs", form.skip, changed("skip", true)),
              tick("Run identical requests once", form.deduplicate, changed("deduplicate")),
              field("Stop after errors", number("max_errors", {})),
              field("Stop at an error rate (%)", number("max_error_rate", { max: "100", step: "any" })),
              field("Stop after tokens", number("max_total_tokens", {})),
              state.dry?.estimated_cost // there are prices
                ? field(
                    `Stop at a cost (${state.dry.estimated_cost.currency})`,
                    number("max_cost", { step: "any" }),
                  )
                : null,
            ),
          ),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "primary large", disabled: !ready || state.busy }, "Submit the batch"),
        !ready && !state.busy && state.dry
          ? h("span", { class: "dim" }, "The check has to succeed first.")
          : null,
      ),
    );
  }

  return { title: "New batch", view, close: () => leaving.abort() };
}
