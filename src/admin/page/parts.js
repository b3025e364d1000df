// What several views are made of: signs of states, charts, toasts, places.

import { onAnswer, relay } from "./api.js";
import { button, count, fill, h, icon, prose } from "./dom.js";

/** How each state of a delivery, of a destination and of a rule looks: its sign, its colour, and its word. */
const STATES = {
  delivered: ["yes", "good", "delivered"],
  waiting: ["clock", "wait", "waiting"],
  in_flight: ["going", "wait", "in flight"],
  scheduled: ["clock", "wait", "to be tried again"],
  held: ["pause", "held", "held"],
  dead: ["no", "bad", "dead letter"],
  skipped: ["none", "dim", "nothing to send"],
  dropped: ["none", "dim", "dropped"],
  moved: ["going", "dim", "sent elsewhere"],
  unknown: ["none", "dim", "ended"],
  up: ["yes", "good", "up"],
  failing: ["alarm", "bad", "failing"],
  paused: ["pause", "held", "paused"],
  removed: ["none", "dim", "removed"],
};

export function stateOf(name) {
  const [sign, colour, word] = STATES[name] ?? ["none", "dim", String(name)];
  return { sign, colour, word };
}

export function badge(name) {
  const { sign, colour, word } = stateOf(name);
  return h(`span.badge.s-${colour}`, null, icon(sign), word);
}

/** A delivery that is not where it should be: its destination, with its state for those who do not see the colour. */
export function pill(destination, state) {
  const { sign, colour, word } = stateOf(state);
  return h(`span.pill.s-${colour}`, { title: word }, icon(sign, word), h("span", null, destination));
}

/** Whether a destination is waited for by somebody: nothing of it mends by itself at once. */
export function needsSomebody(destination) {
  return destination.state === "failing" || destination.dead_letters > 0;
}

/** Destinations with those in trouble first. */
export function troubleFirst(destinations) {
  const order = ({ state, dead_letters: dead, backlog }) => (state === "failing" ? 0 : dead ? 1 : state === "paused" ? 2 : backlog ? 3 : 4);
  return destinations.toSorted((one, other) => order(one) - order(other));
}

const STUCK = ["dead", "scheduled", "held", "waiting", "in_flight"];

/** Deliveries with those first that are not where they should be, and among these the ones that failed. */
export function stuckFirst(deliveries) {
  const order = ({ state }) => (STUCK.indexOf(state) + 1 || STUCK.length + 1);
  return deliveries.toSorted((one, other) => order(one) - order(other));
}

/**
 * The event that stands in Try it, and how it is tried: the same when somebody comes back to it. In memory alone, so that nothing of an event is
 * left in a browser that is closed.
 */
export const draft = { text: null, source: null, onDisk: false };

// ---- addresses: all behind the #, so they work below any path, and no proxy's log has what was searched for

/** The place in the address: {view, rest, query}. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/").map(decoded);
  return { view, rest, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a place. */
export function link(view, rest = [], query = {}) {
  const path = [view, ...rest].map(encodeURIComponent).join("/");
  const given = Object.entries(query).filter(([, value]) => value);
  return `#/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** Goes to a place. With `replace`, nothing leads back to the one before. */
export function go(address, { replace = false } = {}) {
  if (location.hash === address) return;
  if (!replace) {
    location.hash = address;
    return;
  }
  history.replaceState(null, "", address);
  dispatchEvent(new Event("hashchange"));
}

/** Says in the title of the page what is shown. */
export function title(...what) {
  document.title = [...what.filter(Boolean), "vero-relay"].join(" · ");
}

// ---- what was not answered

/** After the relay answers again, so much later what it did not answer is asked for: all of it does not come at once. */
const AGAIN_MS = 500;

/** What stands where something could not be asked for. Where the relay does not answer at all, `again` is called as soon as it does. */
export function unanswered({ status, message }, again) {
  const isSilent = status === 0;
  const made = h("div.unanswered", null, h("p.bad", null, message, isSilent && " It is asked again by itself."), button("Try again", again));
  if (isSilent) onAnswer(() => setTimeout(() => made.isConnected && again(), AGAIN_MS));
  return made;
}

// ---- charts

/**
 * Bars of some minutes: `good` and, on top, `bad`. Drawn to the largest of them, at least `least`. Its name says the sums, since a picture
 * says nothing to those who do not see it.
 */
export function bars(good, bad, { kind = "ok", label = "", least = 4 } = {}) {
  const most = Math.max(least, ...good.map((number, at) => number + (bad?.[at] ?? 0)));
  const width = 4;
  const tall = 24;
  // One path a colour, however many minutes: a relay may have a hundred destinations.
  const paths = { good: "", bad: "" };
  good.forEach((number, at) => {
    const high = (part) => (part === 0 ? 0 : Math.max(1, (part / most) * (tall - 1)));
    const up = high(number);
    const over = high(bad?.[at] ?? 0);
    const bar = (from, tip) => `M${at * width} ${(tall - from).toFixed(2)}h${width - 1}v${(-tip).toFixed(2)}h${1 - width}z`;
    if (up > 0) paths.good += bar(0, up);
    if (over > 0) paths.bad += bar(up, over);
  });
  const base = h("line", { class: "base", x1: 0, x2: good.length * width, y1: tall, y2: tall });
  const box = `0 0 ${good.length * width} ${tall}`;
  return h("svg.bars", { viewBox: box, preserveAspectRatio: "none", role: "img", "aria-label": label }, base, paths.good && h("path", { class: kind, d: paths.good }), paths.bad && h("path", { class: "failed", d: paths.bad }));
}

export function sum(numbers) {
  return (numbers ?? []).reduce((so_far, number) => so_far + number, 0);
}

// ---- what is said

/**
 * Says something where it is seen for a while, and where it is heard; with one thing to do about it, `run`, if there is one. What was said
 * before of the same thing, `about`, is not true any more, and goes.
 */
export function toast(text, { about = null, label = null, run = null } = {}) {
  const parent = document.getElementById("toasts");
  const shown = h("div.toast", null, h("span", null, prose(text)));
  shown.about = about ?? text;
  const act = () => {
    shown.remove();
    run();
  };
  if (run) shown.append(button(label, act));
  for (const before of [...parent.children]) if (before.about === shown.about) before.remove();
  parent.append(shown);
  announce(text);
  setTimeout(() => shown.remove(), run ? 9000 : 5000);
  while (parent.childElementCount > 3) parent.firstElementChild.remove();
}

/** Says something to those who listen. */
export function announce(text) {
  fill(document.getElementById("said"), text);
}

/** What is shown where there is nothing. */
export function empty(title, text, ...acts) {
  return h("div.empty", null, h("h2", null, title), h("p", null, prose(text)), acts.length > 0 && h("div.acts", null, acts));
}

/** Events of the history, counted from the newest, through which a view looks. */
export const LAST = 100000;

/** "3 of 5" of something, or all. */
export function share(part, whole) {
  return part === whole ? `all ${count(whole)}` : `${count(part)} of ${count(whole)}`;
}
