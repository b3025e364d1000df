// Signing in, where a token is asked for.

import { fill, h } from "./dom.js";

/** Shows the form; `done()` is called when somebody has signed in. */
export function open(parent, here, done) {
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, "aria-label": "Token" });
  const told = h("p.bad", { role: "alert" });
  // Those who keep passwords want a name beside each.
  const name = h("input", { type: "text", name: "username", autocomplete: "username", value: "operator", hidden: true });
  const send = h("button.btn.first", { type: "submit" }, "Sign in");
  const form = h("form.signin", { action: "sign-in", method: "post" }, h("h1", null, "Sign in"), h("p.dim", null, "With the token that stands under ", h("code", null, "admin:"), " in the config."), name, token, send, told);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const answer = await fetch("sign-in", { method: "POST", headers: { "x-vero-relay-write": "1", accept: "application/json" }, body: new URLSearchParams({ token: token.value }) });
      if (answer.ok) return await done();
      fill(told, (await answer.json()).error);
    } catch {
      fill(told, "The relay does not answer.");
    } finally {
      send.disabled = false;
      token.value = "";
    }
  });
  parent.append(form);
  token.focus();
}
