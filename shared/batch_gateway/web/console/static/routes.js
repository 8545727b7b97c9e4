// Which page an address names, and what the navigation offers.

import batch from "./pages/batch.js";
import batches from "./pages/batches.js";
import deadLetters from "./pages/dead-letters.js";
import files from "./pages/files.js";
import functions from "./pages/functions.js";
import keys from "./pages/keys.js";
import models from "./pages/models.js";
import newBatch from "./pages/new.js";
import queue from "./pages/queue.js";
import usage from "./pages/usage.js";
import webhooks from "./pages/webhooks.js";
import { strict } from "./session.js";
import { empty } from "./ui.js";

const PAGES = {
  batches,
  new: newBatch,
  files,
  models,
  usage,
  webhooks,
  queue,
  functions,
  keys,
  "dead-letters": deadLetters,
};

const WORK = [
  ["batches", "Batches"],
  ["new", "New batch"],
  ["files", "Files"],
  ["models", "Models"],
  ["webhooks", "Webhooks"],
];
const EXTENDED = [["usage", "Usage"]]; // not in OpenAI's API
const OPERATE = [
  ["queue", "Queue"],
  ["functions", "Functions"],
  ["keys", "API keys"],
  ["dead-letters", "Dead letters"],
];

/** What the navigation offers: groups of [page, text]. */
export function sections(app) {
  const own = { title: "", links: strict() ? WORK : [...WORK, ...EXTENDED] };
  return app.session?.operator ? [own, { title: "Operate", links: OPERATE }] : [own];
}

/** The page at `path`; the one that is shown when it is at home there. */
export function routed(app, path, query) {
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
