// Which page an address names, and what the navigation offers.

import batch from "./pages/batch.js";
import batches from "./pages/batches.js";
import files from "./pages/files.js";
import models from "./pages/models.js";
import newBatch from "./pages/new.js";
import usage from "./pages/usage.js";
import webhooks from "./pages/webhooks.js";
import { strict } from "./session.js";
import { empty } from "./ui.js";

const PAGES = { batches, new: newBatch, files, models, usage, webhooks };

const WORK = {
  title: "",
  links: [
    ["batches", "Batches"],
    ["new", "New batch"],
    ["files", "Files"],
    ["models", "Models"],
    ["webhooks", "Webhooks"],
  ],
};
const EXTENDED = ["usage", "Usage"]; // not in OpenAI's API

/** The page at `path`; the one that is shown when it is at home there. */
export function routed(app, path, query) {
  app.sections = [strict() ? WORK : { ...WORK, links: [...WORK.links, EXTENDED] }];
  const [name = "", ...rest] = path;
  if (app.page?.at?.(path, query)) return app.page;
  if (name === "batches" && rest[0]) return batch(app, rest, query);
  const page = PAGES[name || "batches"];
  return page ? page(app, rest, query) : lost();
}

function lost() {
  return {
    title: "Not found",
    view: () =>
      empty("There is no such page", "The address may be misspelt.", {
        href: "#/batches",
        text: "To the batches",
      }),
  };
}
