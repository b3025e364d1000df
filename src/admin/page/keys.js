// What single keys do, the list of them, and that they may be switched off.

import { button, h, recall, remember } from "./dom.js";
import { relay } from "./api.js";
import { go, link } from "./parts.js";

/** Each with whether it does something also for those who only look, and whether for them alone. */
const KEYS = [
  ["j k ↓ ↑", "the next, the one before", true],
  ["Enter", "to what is shown of it", true],
  ["Esc", "back to the list", true],
  ["/", "search", true],
  ["p", "hold the list, let it go"],
  ["r", "replay this event"],
  ["y", "copy its id"],
  ["m", "mark to compare"],
  ["g e, g d, g t, g u, g c", "to a view"],
  ["g e, g d", "to a view", true, true],
  ["?", "this list", true],
];

/** Leads to the list of them. */
export const keysButton = button("", showKeys, { kind: "quiet square keys", sign: "help", "aria-label": "Keys", title: "Keys" });
let keysOff = recall("keys") === "off";
let awaited = null;

function showKeys() {
  const off = h("input", { type: "checkbox", checked: !keysOff });
  off.addEventListener("change", () => {
    keysOff = !off.checked;
    remember("keys", keysOff ? "off" : null);
  });
  const does = ([, , looks = false, onlyLooks = false]) => (relay.onlyLooks ? looks : !onlyLooks);
  const list = h("dl.keys", null, KEYS.filter(does).map(([keys, what]) => [h("dt", null, keys.split(/(?<!g) /).map((key) => [h("kbd", null, key), " "])), h("dd", null, what)]));
  const dialog = h("dialog", { "aria-label": "Keys" }, h("h2", null, "Keys"), list, h("label.check", null, off, "Single keys do something"), h("div.acts", null, button("Close", () => dialog.close(), { kind: "first" })));
  dialog.addEventListener("close", () => {
    dialog.remove();
    keysButton.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** Listens to keys: after `g`, one of the `views` is gone to by its first letter; what is none of all views is for `act(name, event)`. */
export function onKeys(views, act) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input,textarea,select,[contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open],[popover]:popover-open")) return;
    if (event.key === "Escape") return act("Escape", event);
    if (typing || keysOff) return;
    if (awaited) {
      clearTimeout(awaited);
      awaited = null;
      const to = views.find((name) => name[0] === event.key);
      if (to) go(link(to));
      return;
    }
    if (event.key === "g") awaited = setTimeout(() => (awaited = null), 1200);
    else if (event.key === "?") showKeys();
    else act(event.key, event);
  });
}
