// The frame: tabs, health, the time zone, colours, keys; which view is shown; and what all of them know of the relay.

import { get, listen, lookAtFile, onFile, onRefresh, onState, refresh, relay } from "./api.js";
import { button, count, fill, h, icon, isUtc, many, recall, remember, say, setClock, setUtc, tick, zoneName } from "./dom.js";
import { keysButton, onKeys } from "./keys.js";
import { announce, empty, link, needsSomebody, place, toast } from "./parts.js";
import { isFileBad } from "./strip.js";

/** Each is loaded when it is first shown. */
const VIEWS = [
  ["events", "Events", () => import("./events.js")],
  ["destinations", "Destinations", () => import("./destinations.js")],
  ["try", "Try it", () => import("./try.js")],
  ["unrouted", "Unrouted", () => import("./unrouted.js")],
  ["config", "Config", () => import("./config.js")],
];
/** What is shown by its address alone: no tab leads there. */
const ASIDE = [["bins", "Bins", () => import("./bins.js")]];
/** For those who only look, in the place of all that shows events. */
const LOOKING = ["looking", "Only looking", () => import("./looking.js")];
const LOOKED_AT = "destinations";
const SIGN_IN = ["sign-in", "Sign in", () => import("./signin.js")];
/** How often everything is asked for where nothing comes by itself. */
const ASK_EVERY_MS = 5000;

const main = document.getElementById("main");
let shown = null;
let stream = null;
let asking = null;

// ---- where we are

async function route() {
  // What a dialog asks about is left behind with the place.
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  let here = placed();
  const name = relay.signedOut ? "sign-in" : relay.onlyLooks && here.view !== LOOKED_AT ? "looking" : here.view;
  if (shown?.name !== name) {
    shown?.view.close?.();
    main.className = "";
    fill(main);
    const opened = { name, view: {} };
    shown = opened;
    markTab();
    const view = await loaded(name);
    if (shown !== opened || !view) return;
    opened.view = view;
    here = placed();
    view.open(main, here, signedIn);
    document.title = name === "events" ? "vero-relay" : `${viewOf(name)[1]} · vero-relay`;
  }
  shown.view.go?.(here);
  markTab();
}

function viewOf(name) {
  return [...VIEWS, ...ASIDE, LOOKING, SIGN_IN].find(([known]) => known === name);
}

/** The module of a view; nothing, where it did not come, and then it can be asked for again. */
async function loaded(name) {
  try {
    return await viewOf(name)[2]();
  } catch {
    shown = null;
    fill(main, empty("This view could not be loaded", "The relay does not answer, or another program answers in its place.", button("Try again", () => location.reload())));
    return null;
  }
}

// ---- the frame

const tabs = new Map();
const health = h("span.health", { role: "status" });
const zone = button("", () => {
  setUtc(!isUtc());
  drawTools();
  tick(true);
  shown?.view.zone?.();
}, { kind: "quiet zone" });
const colours = button("", nextColours, { kind: "quiet square" });
const leave = button("Sign out", async () => {
  try {
    await fetch("sign-out", { method: "POST", headers: { "x-vero-relay-write": "1" } });
    signedOut();
  } catch {
    toast("The relay does not answer: the session goes on.");
  }
}, { kind: "quiet leave", sign: "leave", "aria-label": "Sign out", hidden: true });

function drawFrame() {
  for (const [name, label] of VIEWS) {
    const badge = h("span.number", { hidden: true });
    const tab = h("a", { href: link(name) }, icon(name), h("span", null, label), badge);
    tabs.set(name, { tab, badge });
    document.getElementById("tabs").append(tab);
  }
  document.getElementById("tools").append(health, zone, colours, keysButton, leave);
  drawTools();
}

function drawTools() {
  fill(zone, zoneName());
  zone.title = isUtc() ? "Times are in UTC: show local ones" : "Times are local: show UTC";
  const chosen = document.documentElement.dataset.theme ?? "system";
  fill(colours, icon(chosen));
  colours.setAttribute("aria-label", `Colours: ${chosen}`);
  colours.title = `Colours: ${chosen}`;
}

function nextColours() {
  const order = ["system", "light", "dark"];
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % order.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  remember("theme", next === "system" ? null : next);
  drawTools();
  announce(`Colours: ${next}`);
}

/** The place in the address; the events, where it names no view. */
function placed() {
  const here = place();
  const isKnown = [...VIEWS, ...ASIDE].some(([name]) => name === here.view);
  return isKnown ? here : { ...here, view: "events", rest: [] };
}

function markTab() {
  for (const [name, { tab }] of tabs) {
    tab.hidden = relay.onlyLooks && name !== "events" && name !== LOOKED_AT;
    if (name === (shown?.name === "looking" ? "events" : shown?.name)) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}

/** What becomes of what comes in: somebody may have paused a source. */
function intake(sources) {
  const named = (state, verb) => {
    const names = sources.filter((source) => source.state === state).map((source) => source.name);
    return names.length > 0 && `${verb} ${names.length > 1 ? many(names.length, "source") : names[0]}`;
  };
  const paused = [named("held", "holds"), named("refusing", "refuses")].filter(Boolean);
  if (!paused.length) return ["Accepts events", "good"];
  const acceptsNone = sources.every((source) => source.state === "refusing");
  const text = [...(acceptsNone ? [] : ["accepts events"]), ...paused].join(", ");
  return [text[0].toUpperCase() + text.slice(1), "wait"];
}

function drawHealth() {
  const { status, isSilent } = relay;
  const [word, colour] = isSilent ? ["Not answering", "bad"] : !status ? ["…", ""] : status.trouble ? ["Accepts no events", "bad"] : intake(status.sources);
  if (health.dataset.word !== word) {
    health.dataset.word = word;
    health.className = `health ${colour}`;
    health.title = word;
    fill(health, h("span.dot"), h("span", null, word));
  }
  const banner = document.getElementById("banner");
  const text = isSilent
    ? "The relay does not answer. What is shown is how it was; it is asked again by itself."
    : status?.trouble
      ? `No events are accepted: ${status.trouble}. Senders are told to try again later (503).`
      : relay.isHeldUp
        ? "Live updates do not come through: a proxy in between may hold them up. The relay is asked every 5 seconds."
        : "";
  if (text) say(banner, text);
  else if (banner.firstChild) fill(banner);
  const needing = (status?.destinations ?? []).filter(needsSomebody).length;
  const { badge } = tabs.get("destinations");
  badge.hidden = needing === 0;
  say(badge, count(needing));
  badge.title = `${needing} need somebody`;
  const mark = tabs.get("config").badge;
  mark.hidden = !isFileBad();
  say(mark, "!");
  mark.title = "The config file is not good";
}

// ---- what is known of the relay

onRefresh((isNewer) => {
  if (isNewer) toast("A newer page is there.", { label: "Load it", run: () => location.reload() });
  setClock(relay.minutes.until);
  changed();
});
onFile(changedSoon);

function changed() {
  drawHealth();
  shown?.view.relay?.(relay);
}

let isDue = false;

/** Shows what came by itself, and all that comes until then, in one go: a hundred destinations may each say something at once. */
function changedSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    changed();
  });
}

function stopAsking() {
  clearInterval(asking?.timer);
  asking = null;
}

function startAsking(every) {
  if (asking?.every === every) return;
  stopAsking();
  asking = { every, timer: setInterval(() => !document.hidden && refresh(), every) };
}

function startListening() {
  // What comes by itself tells of events.
  if (stream || relay.onlyLooks) return;
  relay.isOpening = true;
  stream = listen(heard, (what) => {
    relay.isOpening = false;
    relay.isLive = what === "open";
    if (what !== "lost") relay.isHeldUp = what === "held-up";
    startAsking(relay.isLive ? ASK_EVERY_MS * 3 : ASK_EVERY_MS);
    shown?.view.live?.(relay.isLive);
    drawHealth();
  });
}

function stopListening() {
  stream?.close();
  stream = null;
  relay.isLive = false;
}

function heard(kind, data) {
  if (kind === "hello") {
    setClock(data.now);
    const isFirst = !relay.epoch;
    const hasRestarted = !isFirst && relay.epoch !== data.epoch;
    relay.epoch = data.epoch;
    if (hasRestarted) toast("The relay has restarted.");
    // Who comes back is sent a reset where something was missed.
    if (isFirst) shown?.view.frame?.("reset", data);
    if (hasRestarted || !data.resumed) refresh();
    // Of the file only a change is told.
    if (!data.resumed) lookAtFile();
  }
  if (kind === "config") {
    refresh();
    lookAtFile();
  }
  if (kind === "destination" && relay.status) {
    const at = relay.status.destinations.findIndex((known) => known.name === data.name);
    if (at < 0) refresh();
    else {
      relay.status.destinations[at] = data;
      changedSoon();
    }
  }
  if (kind === "minute" && relay.minutes) takeMinute(data);
  shown?.view.frame?.(kind, data);
}

/** Puts the running minute in the place of what was known of it. */
function takeMinute(minute) {
  const { minutes } = relay;
  const begun = (at) => Math.floor(Date.parse(at) / 60000);
  const passed = begun(minute.at) - begun(minutes.until);
  if (passed < 0) return;
  const put = (list, value) => {
    for (let i = 0; i < Math.min(passed, list.length); i += 1) list.push(0), list.shift();
    list[list.length - 1] = value;
  };
  put(minutes.accepted, minute.accepted);
  put(minutes.refused, minute.refused);
  put(minutes.unrouted, minute.unrouted);
  for (const [name, lists] of Object.entries(minutes.destinations)) {
    const { delivered = 0, failed = 0, dead = 0 } = minute.destinations[name] ?? {};
    put(lists.delivered, delivered);
    put(lists.failed, failed);
    put(lists.dead, dead);
  }
  minutes.until = minute.at;
  changedSoon();
}

// ---- signing in

function signedOut() {
  if (relay.signedOut && !asking && !stream) return;
  relay.signedOut = true;
  stopListening();
  stopAsking();
  leave.hidden = true;
  route();
}

async function signedIn() {
  relay.signedOut = false;
  takeSession(await get("session"));
  if (relay.signedOut) return;
  begin();
  route();
}

function takeSession(session) {
  relay.onlyLooks = session.access === "read";
  remember("session", session.needed ? "needed" : null);
  leave.hidden = !session.signed_in;
  if (session.needed && !session.signed_in) signedOut();
}

// ---- the beginning

/**
 * Asks who asks, and for all that is shown, at once. Where a session was needed when this browser was here last, who asks is known first:
 * then nothing is asked for that they may not see.
 */
async function start() {
  // One that does not answer is told of elsewhere.
  const session = get("session").then(takeSession).catch(() => {});
  const isOpen = recall("session") === null;
  if (!isOpen) await session;
  if (!relay.signedOut) begin();
  route();
  if (!isOpen) return;
  await session;
  if (!relay.onlyLooks) return;
  stopListening();
  route();
}

function begin() {
  refresh();
  startAsking(ASK_EVERY_MS);
  if (!document.hidden) startListening();
}

onState((what) => {
  if (what === "signed-out") return signedOut();
  const isSilent = what === "silent";
  if (relay.isSilent !== isSilent) {
    // One that does not come is no news yet.
    relay.missed = isSilent ? (relay.missed ?? 0) + 1 : 0;
    if (!isSilent || relay.missed > 1) relay.isSilent = isSilent;
    drawHealth();
  } else if (!isSilent) {
    relay.missed = 0;
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stopListening();
  if (!relay.signedOut) {
    startListening();
    refresh();
  }
});
addEventListener("hashchange", route);
onKeys(VIEWS.map(([name]) => name), (name, event) => shown?.view.key?.(name, event));
setInterval(tick, 1000);

// Nobody has a focus to lose before the first view is there.
addEventListener("load", () => import("./focus.js").catch(() => {}));

drawFrame();
drawHealth();
start();
