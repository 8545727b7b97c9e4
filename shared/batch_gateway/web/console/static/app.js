// The frame of the console: which page is shown, the navigation, messages and dialogs.

import { get, link } from "./api.js";
import { h, patch } from "./dom.js";
import { arrive } from "./oidc.js";
import { home, routed, sections } from "./routes.js";
import { forget, needsToken, session, signedIn, start, strict } from "./session.js";
import signIn from "./pages/signin.js";
import { dialog } from "./ui.js";

const root = document.getElementById("app");

export const app = {
  page: null, // what is shown: { title, view(), close() }
  toasts: [],
  asking: null, // the open confirmation
  menu: false, // whether the navigation of narrow screens is open
  session: null, // whose key it is and what it may do; null: not known

  /** Draw again what has changed, once for all changes until the next frame. */
  refresh() {
    if (app.drawing) return;
    app.drawing = true;
    const draw = () => {
      app.drawing = false;
      root.querySelector(":scope > .boot.first")?.remove();
      patch(root, frame());
    };
    if (document.hidden) setTimeout(draw, 0);
    else requestAnimationFrame(draw);
  },

  go(hash) {
    if (location.hash === hash) arriveAt();
    else location.hash = hash;
  },

  toast(text, { bad = false, href = null } = {}) {
    const one = { text, bad, href, key: `${performance.now()}` };
    app.toasts.push(one);
    setTimeout(() => app.dismiss(one), bad ? 12_000 : 6_000);
    app.refresh();
  },

  dismiss(one) {
    app.toasts = app.toasts.filter((other) => other !== one);
    app.refresh();
  },

  /** Ask before something is done; true when the user agrees. */
  confirm({ title, text, action, danger = false }) {
    return new Promise((resolve) => {
      app.asking = {
        title,
        text,
        action,
        danger,
        done: (agreed) => ((app.asking = null), app.refresh(), resolve(agreed)),
      };
      app.refresh();
    });
  },

  /** Do something that a user asked for; what fails is told. The answer, or undefined. */
  async attempt(work, said = null) {
    try {
      const answer = await work();
      if (said) app.toast(typeof said === "function" ? said(answer) : said);
      return answer;
    } catch (error) {
      if (error.name !== "AbortError") app.toast(error.message, { bad: true });
      return undefined;
    }
  },

  /** Where a user who has signed in wants to go, or may go. */
  arrived() {
    const asked = unnamed() || location.hash === "#/batches" ? null : location.hash;
    app.go(asked ?? `#/${home(app)}`);
  },

  signOut() {
    forget();
    arriveAt();
  },
};

link.changed = () => (signedIn() ? app.refresh() : arriveAt());

function frame() {
  const bare = app.page.bare === true;
  document.title = `${app.page.title} – Batch Gateway`;
  return [
    h("a", { class: "skip", href: "#main", onclick: focusMain }, "Skip to content"),
    bare ? null : top(),
    h(
      "div",
      { class: bare ? "bare" : "frame" },
      bare ? null : side(),
      h(
        "main",
        { id: "main", tabindex: "-1" },
        link.up
          ? null
          : h(
              "p",
              { class: "banner", role: "alert" },
              "The service cannot be reached. What you see may be out of date. The console retries.",
            ),
        app.page.view(),
      ),
    ),
    h("div", { class: "toasts", role: "status", "aria-live": "polite" }, app.toasts.map(toast)),
    app.asking && confirmation(app.asking),
  ];
}

function focusMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function top() {
  return h(
    "header",
    { class: "top" },
    h(
      "button",
      {
        class: "ghost menu",
        "aria-expanded": String(app.menu),
        "aria-controls": "side",
        onclick: () => ((app.menu = !app.menu), app.refresh()),
      },
      "Menu",
    ),
    h(
      "a",
      { class: "brand", href: `#/${home(app)}` },
      h("span", { class: "mark", "aria-hidden": "true" }),
      "Batch Gateway",
    ),
  );
}

function side() {
  const here = location.hash.split(/[/?]/)[1] || home(app);
  return h(
    "nav",
    { id: "side", class: app.menu ? "side open" : "side", "aria-label": "Console" },
    sections(app).map((section) =>
      h(
        "div",
        { class: "group", key: section.title || "work" },
        section.title ? h("h2", null, section.title) : null,
        h(
          "ul",
          null,
          section.links.map(([name, text]) =>
            h("li", null, h("a", { href: `#/${name}`, "aria-current": here === name ? "page" : null }, text)),
          ),
        ),
      ),
    ),
    h(
      "div",
      { class: "foot" },
      h("a", { href: "../docs" }, "API reference"),
      needsToken() && h("button", { class: "ghost", onclick: app.signOut }, "Sign out"),
    ),
  );
}

function toast(one) {
  return h(
    "div",
    { class: one.bad ? "toast bad" : "toast", key: one.key },
    h("span", null, one.text),
    one.href && h("a", { href: one.href }, "Open"),
    h("button", { class: "ghost", "aria-label": "Dismiss", onclick: () => app.dismiss(one) }, "×"),
  );
}

function confirmation({ title, text, action, danger, done }) {
  return dialog(
    { title, onclose: () => done(false) },
    h("p", null, text),
    h(
      "div",
      { class: "actions end" },
      h("button", { onclick: () => done(false) }, "Back"),
      h("button", { class: danger ? "danger" : "primary", onclick: () => done(true) }, action),
    ),
  );
}

let questions = 0;

/** Learn what the user may do: operators get pages of their own. Asked again at the next page if that fails. */
async function know() {
  const mine = (questions += 1); // another user may sign in meanwhile
  const found = await get("session").catch(() => null);
  if (mine !== questions || !signedIn()) return;
  app.session = found;
  if (unnamed() && home(app) !== "batches") arriveAt();
  app.refresh();
}

/** Whether the address names no page. */
const unnamed = () => ["", "#", "#/"].includes(location.hash);

/** Show the page that the address names. */
function arriveAt() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  if (location.hash === "#main") return;
  const before = app.page;
  if (!signedIn()) app.session = null;
  else if (app.session === null && !strict()) know();
  const there = signedIn()
    ? routed(app, path.split("/").map(decoded), new URLSearchParams(query))
    : before?.signIn
      ? before
      : signIn(app);
  if (there === before) return app.refresh(); // another part of the same page
  before?.close?.();
  app.page = there;
  app.menu = false;
  if (before)
    requestAnimationFrame(
      () => (window.scrollTo(0, 0), document.getElementById("main")?.focus({ preventScroll: true })),
    );
  app.refresh();
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function boot() {
  try {
    await start();
    if (session.config.oidc) await arrive().catch((error) => (app.trouble = error.message));
  } catch (error) {
    app.page = {
      title: "Not available",
      bare: true,
      view: () =>
        h(
          "p",
          { class: "boot", role: "alert" },
          `The service cannot be reached: ${error.message} `,
          h("button", { onclick: () => location.reload() }, "Try again"),
        ),
    };
    return app.refresh();
  }
  window.addEventListener("hashchange", arriveAt);
  arriveAt();
  return undefined;
}

boot();
