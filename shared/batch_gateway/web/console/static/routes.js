// Which page an address names, and what the navigation offers.

import allBatches from "./pages/all-batches.js";
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
import { reads, strict } from "./session.js";
import { empty } from "./ui.js";

const PAGES = {
  batches,
  new: newBatch,
  files,
  models,
  usage,
  webhooks,
  "all-batches": allBatches,
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
  ["all-batches", "All batches"],
  ["queue", "Queue"],
  ["functions", "Functions"],
  ["keys", "API keys"],
  ["dead-letters", "Dead letters"],
];

const OPERATE_ONLY = [["models", "Models"], ...EXTENDED]; // of the other pages, those that such a key may open

/** The page for an address without one: the first page that the key may open. */
export const home = (app) => (app.session?.operator && !reads(app) ? "all-batches" : "batches");

/** What the navigation offers: groups of [page, text]. */
export function sections(app) {
  const own = { title: "", links: strict() ? WORK : [...WORK, ...EXTENDED] };
  if (!app.session?.operator) return [own];
  if (!reads(app)) return [{ title: "Operate", links: [...OPERATE, ...OPERATE_ONLY] }];
  return [own, { title: "Operate", links: OPERATE }];
}

/** The page at `path`; the one that is shown when it is at home there. */
export function routed(app, path, query) {
  const [name = "", ...rest] = path;
  if (app.page?.at?.(path, query)) return app.page;
  if (name === "batches" && rest[0]) return batch(app, rest, query);
  if (name === "all-batches" && rest[0]) return batch(app, rest, query, { any: true });
  const page = PAGES[name || home(app)];
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
