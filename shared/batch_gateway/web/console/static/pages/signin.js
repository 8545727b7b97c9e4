// Sign-in by an API key or token, or at an identity provider.

import { get } from "../api.js";
import { h } from "../dom.js";
import { leave } from "../oidc.js";
import { forget, keep, session, strict } from "../session.js";
import { callout, field } from "../ui.js";

export default function signIn(app) {
  const state = { key: "", inTab: true, busy: false, wrong: app.trouble ?? null };
  app.trouble = null;
  const noun = session.config.auth === "oidc" ? "Token" : "API key";

  async function submit(event) {
    event.preventDefault();
    const key = state.key.trim();
    if (!key || state.busy) return;
    // A header takes these characters only; fetch would throw at others.
    if (!/^[\x21-\x7e]+$/.test(key))
      return told(`This is no ${noun.toLowerCase()}: it has characters that none has.`);
    Object.assign(state, { busy: true, wrong: null });
    app.refresh();
    keep(key, { inTab: state.inTab });
    try {
      if (strict()) await get("batches", { limit: 1 });
      else app.session = await get("session"); // any key opens this
      app.arrived();
    } catch (error) {
      forget();
      told(
        error.status === 401
          ? `The service does not know this ${noun.toLowerCase()}. ${error.message}`
          : error.message,
      );
    }
  }

  function told(text) {
    Object.assign(state, { busy: false, wrong: text });
    app.refresh();
    requestAnimationFrame(() => document.getElementById("key")?.focus());
  }

  const away = () => leave().catch((error) => told(error.message));

  return {
    title: "Sign in",
    signIn: true,
    bare: true,
    view: () =>
      h(
        "div",
        { class: "signin" },
        h("h1", null, h("span", { class: "mark", "aria-hidden": "true" }), "Batch Gateway"),
        session.expired && !state.wrong
          ? callout(
              "warn",
              "You were signed out",
              h("p", null, "The service no longer accepts what you signed in with."),
            )
          : null,
        state.wrong ? callout("bad", "Not signed in", h("p", null, state.wrong)) : null,
        session.config.oidc ? provider() : form(),
      ),
  };

  function provider() {
    return h(
      "div",
      { class: "card" },
      h("p", null, "You sign in at your identity provider and come back here."),
      h("button", { class: "primary large", onclick: away }, "Sign in"),
    );
  }

  function form() {
    return h(
      "form",
      { class: "card", onsubmit: submit },
      field(
        noun,
        h("input", {
          id: "key",
          type: "password",
          autocomplete: "current-password",
          spellcheck: "false",
          required: true,
          value: state.key,
          oninput: (event) => (state.key = event.target.value),
          ref: (node) => node.focus(),
        }),
      ),
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: state.inTab,
          onchange: (event) => (state.inTab = event.target.checked),
        }),
        "Keep it until this tab is closed",
      ),
      h("button", { class: "primary large", disabled: state.busy }, state.busy ? "Signing in …" : "Sign in"),
    );
  }
}
