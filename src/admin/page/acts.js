// What somebody does: acts that are done once, dialogs that ask before, menus. The first view needs none of it.

import { Refused, newId, relay } from "./api.js";
import { button, h, plain } from "./dom.js";
import { follow } from "./focus.js";
import { go, link, toast } from "./parts.js";

/**
 * Has something done, once: the button is busy meanwhile, and a second click does nothing. `act(id)` gets an id for the command, the
 * same where it is tried again after no answer came. A refusal is told, and leaves everything as it was.
 */
export async function once(element, act) {
  if (element.getAttribute("aria-busy") === "true") return null;
  element.setAttribute("aria-busy", "true");
  element.commandId ??= newId();
  try {
    const done = await act(element.commandId);
    element.commandId = null;
    return done;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status !== 0) element.commandId = null;
    toast(error.message);
    return null;
  } finally {
    element.setAttribute("aria-busy", "false");
  }
}

/**
 * A dialog that asks before something is done. `content` stands between its title and its buttons; the harmless button has the focus.
 * Calls `act(id)` when the other one is pressed, and closes when that is done.
 */
export function ask({ title, content, label, harm = false, keep = "Cancel", act }) {
  const dialog = h("dialog", { "aria-label": title });
  const from = follow();
  const close = () => dialog.close();
  const go = button(label, () => run(), { kind: harm ? "harm" : "first" });
  const away = button(keep, close, harm ? { autofocus: true } : {});
  async function run() {
    if ((await once(go, act)) !== null) close();
  }
  // What is asked for is another thing now.
  dialog.addEventListener("input", () => (go.commandId = null));
  dialog.append(h("h2", null, title), h("div.content", null, content), h("div.acts", null, away, go));
  dialog.addEventListener("close", () => {
    dialog.remove();
    from.back();
  });
  document.body.append(dialog);
  dialog.showModal();
  (harm ? away : (dialog.querySelector("input,textarea") ?? go)).focus();
  return { dialog, go };
}

/** Tells that something goes to some destinations, and which of them are paused: there it waits. */
export function sent(names, text, act = {}) {
  const paused = (relay.status?.destinations ?? []).filter((known) => known.state === "paused" && names.includes(known.name)).map(({ name }) => name);
  if (!paused.length) return toast(text, act);
  const who = paused.join(", ");
  return toast(`${paused.length < names.length ? `${text} At ${who} it waits` : "It waits"}: ${who} ${paused.length === 1 ? "is" : "are"} paused.`, { label: `See ${paused[0]}`, run: () => go(link("destinations", [paused[0]])) });
}

/** A menu at an element: [[label, code, act], …]. */
export function menu(at, entries) {
  const from = follow(at);
  const shown = h("div.menu", { popover: "auto", role: "menu" });
  for (const [label, code, act] of entries) {
    const run = () => {
      shown.hidePopover();
      act();
    };
    shown.append(h("button", { type: "button", role: "menuitem", onclick: run }, label, code && h("code", null, ` ${plain(code)}`)));
  }
  document.body.append(shown);
  shown.addEventListener("toggle", (event) => event.newState === "closed" && (shown.remove(), from.back()));
  shown.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...shown.children];
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  });
  shown.showPopover();
  const place = at.getBoundingClientRect();
  const own = shown.getBoundingClientRect();
  shown.style.setProperty("left", `${Math.max(8, Math.min(place.left, innerWidth - own.width - 8))}px`);
  const below = place.bottom + 4 + own.height < innerHeight;
  shown.style.setProperty("top", `${below ? place.bottom + 4 : Math.max(8, place.top - own.height - 4)}px`);
  shown.firstElementChild?.focus();
}
