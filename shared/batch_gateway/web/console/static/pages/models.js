// The models that requests may name.

import { get } from "../api.js";
import { h } from "../dom.js";
import { Loaded, poll } from "../live.js";
import { copyable, empty, heading, loaded } from "../ui.js";

export default function models(app) {
  const list = new Loaded(app, (signal) => get("models", {}, signal));
  const polling = poll(
    (signal) => list.load(signal),
    () => 15_000,
  );

  function table(page) {
    if (!page.data.length)
      return empty(
        "No models",
        "The endpoint names none now. It may be away, or an operator has to configure it.",
      );
    return h(
      "table",
      { class: "rows" },
      h("caption", { class: "hidden" }, "Models"),
      h(
        "thead",
        null,
        h("tr", null, h("th", { scope: "col" }, "Model"), h("th", { scope: "col" }, "Owner"), h("td", null)),
      ),
      h(
        "tbody",
        null,
        page.data.map((model) =>
          h(
            "tr",
            { key: model.id },
            h("td", null, copyable(app, model.id)),
            h("td", null, model.owned_by),
            h(
              "td",
              { class: "row-actions" },
              h(
                "a",
                { class: "button small", href: `#/batches?model=${encodeURIComponent(model.id)}` },
                "Its batches",
              ),
            ),
          ),
        ),
      ),
    );
  }

  return {
    title: "Models",
    view: () => [heading("Models"), loaded(list, table, () => polling.now())],
    close: () => polling.stop(),
  };
}
