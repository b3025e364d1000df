// Events: what came in, newest first, as it comes; above it what each destination makes of it; beside it one event in full.

import { Refused, post, relay } from "./api.js";
import { button, count, dayOf, fill, h, icon, keyed, many, moment, prose, say, timeOf } from "./dom.js";
import { announce, empty, go, link, place, title } from "./parts.js";
import { asked } from "./asked.js";
import { outcomes, what } from "./row.js";
import * as above from "./strip.js";

/** Rows that are drawn, and rows that are known. */
const DRAWN_MAX = 400;
const KNOWN_MAX = 1000;
/** Rows of the first drawing, more than a screen holds; the others follow in the next. */
const FIRST_ROWS = 40;
/** Events on a page of the list. */
const PAGE = 100;
/** After the last key, the search waits for so long. */
const TYPING_MS = 180;
/** Where only some events are wanted, those that come are asked about together. */
const GATHER_MS = 400;
const GATHERED_MAX = 100;
/** Frames that wait while something is asked for; of more than these nothing is kept but that there were some. */
const QUEUED_MAX = 1000;
/** Where outcomes were left out, they are asked for so much later, once for all. */
const LATER_MS = 2000;
/** Scrolled further down than this, somebody is reading. */
const READING_PX = 60;
/** New events are told of to those who listen, no more often than this. */
const ANNOUNCE_EVERY_MS = 20000;

const SHOWS = [
  ["", "All"],
  ["stuck", "Stuck"],
  ["dead", "Dead letters"],
  ["unrouted", "Unrouted"],
];
let view = null;
/** What shows one event: it is loaded with the first that is opened, as the list does without it. */
let detail = null;
/** What tells of slips in the search: it is loaded with the first that is typed. */
let slips = null;

export function open(main) {
  view = build(main);
  above.draw(view.strip);
}

export function close() {
  view.controller?.abort();
  clearTimeout(view.typing);
  clearTimeout(view.gathering);
  clearTimeout(view.later);
  detail?.close();
  view = null;
}

function build(main) {
  const input = h("input", { type: "search", placeholder: "Search, or type:bounced to:crm campaign:Cart…", "aria-label": "Search", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", maxlength: 1000 });
  const chips = h("div.chips", { role: "group", "aria-label": "Which events" });
  const rows = h("ol.rows");
  const foot = h("div.foot");
  const scroll = h("div.scroll", null, rows, foot);
  const live = button("", () => hold(!view.heldBy), { kind: "live", "aria-keyshortcuts": "p" });
  const newer = button("", () => letIn(), { kind: "newer", hidden: true });
  const strip = above.build();
  const aside = h("article.detail", { tabindex: "-1", "aria-label": "The event" });
  const list = h(
    "section.list",
    { "aria-label": "Events" },
    h("h1.offscreen", null, "Events"),
    h("div.find", null, h("label.box", null, icon("search"), input, h("kbd", { "aria-hidden": "true" }, "/")), live),
    chips,
    newer,
    scroll,
  );
  main.append(strip, h("div.split", null, list, aside));
  const made = {
    main, input, chips, rows, foot, scroll, live, newer, strip, aside,
    query: null, chosen: null, items: [], waiting: [], next: null, seen: new Set(), heldBy: null, gathered: [], told: 0, untold: 0,
    controller: null, typing: null, gathering: null, later: null, asking: 0, queued: [],
  };
  input.addEventListener("input", () => {
    clearTimeout(made.typing);
    made.typing = setTimeout(() => go(here({ q: input.value.trim() }), { replace: true }), TYPING_MS);
  });
  scroll.addEventListener("scroll", () => scrolled(), { passive: true });
  for (const [name, label] of SHOWS) chips.append(h("button.chip", { type: "button", "data-show": name, onclick: () => go(here({ show: name })) }, label));
  return made;
}

/** The address of this view with something else in it. */
function here(change = {}) {
  const { rest, query } = place();
  const given = { q: query.get("q") ?? "", show: query.get("show") ?? "", ...change };
  return link("events", change.id === null ? [] : change.id ? [change.id] : rest, { q: given.q, show: given.show });
}

/** Shows a place: another search asks anew, another event is shown beside the list. */
export function show({ rest, query }) {
  const wanted = `${query.get("show") ?? ""} ${query.get("q") ?? ""}`;
  if (view.query !== wanted) {
    view.query = wanted;
    if (view.input.value.trim() !== (query.get("q") ?? "")) view.input.value = query.get("q") ?? "";
    const found = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.exec(view.input.value.trim());
    if (found) return go(link("events", [found[0].toLowerCase()]), { replace: true });
    for (const chip of view.chips.children) chip.setAttribute("aria-pressed", String(chip.dataset.show === (query.get("show") ?? "")));
    load();
  }
  choose(rest[0] ?? null);
}
export { show as go };

// ---- the search

function filter() {
  const { query } = place();
  return asked(query.get("q") ?? "", query.get("show") ?? "");
}

function isFiltered() {
  return Object.keys(filter()).length > 0;
}

async function search(more, signal) {
  return post("events/search", { ...filter(), limit: PAGE, ...more }, signal);
}

/** Begins the list anew. What is shown stays until the answer is there. Returns whether it has come. */
async function load() {
  const own = view;
  const { query } = own;
  own.controller?.abort();
  const controller = (own.controller = new AbortController());
  own.scroll.setAttribute("aria-busy", "true");
  try {
    await before(own, async () => {
      const page = await search({}, controller.signal);
      if (view !== own) return;
      begin(page);
      own.scroll.scrollTop = 0;
    });
    return view === own;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (!(error instanceof Refused)) throw error;
    if (view === own) refused(error, query);
    return false;
  } finally {
    // A newer one may be on its way.
    if (own.controller === controller) own.scroll.setAttribute("aria-busy", "false");
  }
}

/** A search that was not answered. Rows of another one are none of its. */
function refused({ message, mayPass }, query) {
  view.failed = { message, mayPass };
  announce(message);
  if (mayPass) askLater(view);
  if (view.listed !== query) Object.assign(view, { items: [], waiting: [], hasGap: false, isCut: false, next: null, page: null, seen: new Set() });
  draw();
}

/** Shows a page alone. */
function begin(page) {
  Object.assign(view, { items: page.events, waiting: [], hasGap: false, isCut: false, failed: null, listed: view.query, next: page.next, page, seen: new Set(page.events.map((event) => event.id)) });
  draw();
}

/** Asks for something, and takes in what comes by itself only behind it: what is asked for may be older. */
async function before(own, ask) {
  own.asking += 1;
  try {
    await ask();
  } finally {
    own.asking -= 1;
    if (view === own && !own.asking) own.queued.splice(0).forEach(([kind, data]) => frame(kind, data));
  }
}

/** The next page, behind what is shown. */
async function further() {
  const own = view;
  const { signal } = own.controller;
  fill(own.foot, "…");
  try {
    await before(own, async () => {
      const page = await search({ after: own.next }, signal);
      if (view !== own || signal.aborted) return;
      own.items.push(...page.events.filter((event) => !own.seen.has(event.id)));
      page.events.forEach((event) => own.seen.add(event.id));
      Object.assign(own, { next: page.next, page: { ...page, looked_at: own.page.looked_at + page.looked_at } });
      draw();
    });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    fill(own.foot, h("span.bad", null, error.message), " ", button("Try again", further));
  }
}

// ---- what comes by itself

export function frame(kind, data) {
  if (!view) return;
  if (view.asking && kind !== "destination") {
    view.queued.push([kind, data]);
    if (view.queued.length > QUEUED_MAX) view.queued = [["reset", data]];
    return;
  }
  // What comes is asked for with the rest when the search is answered.
  if (view.failed && kind !== "reset") return void detail?.frame(kind, data);
  if (kind === "event") arrived(data);
  if (kind === "skipped" && data.events) arrived({ skipped: data.events, id: `skipped-${data.from}-${data.until}`, received_at: data.until, from: data.from });
  if (kind === "skipped" && data.deliveries) askLater(view);
  if (kind === "deliveries") settled(data);
  if (kind === "deliveries" && filter().state && !view.seen.has(data.id)) arrived(data);
  if (kind === "reset") again({ all: true });
  if (kind !== "event") detail?.frame(kind, data);
}

/** The relay has said how it stands. Where nothing comes by itself, the newest events are asked for too. */
export function relayChanged() {
  above.draw(view.strip);
  drawLive();
  // Not while a stream begins: it brings what is missing, and counts what it leaves out.
  if (!relay.isLive && !relay.isOpening) again();
}
export { relayChanged as relay };

/** Asks for the newest page, and takes in what is new on it and what has changed; `all`: what has changed of the others that are drawn, too. */
async function again({ all } = {}) {
  const own = view;
  if (own.asking) return;
  if (own.failed) return own.failed.mayPass && load();
  if (!own.page) return;
  try {
    await before(own, async () => {
      const page = await search({}, own.controller.signal);
      if (view !== own) return;
      const known = page.events.some((event) => own.seen.has(event.id));
      if (!known && own.items.length > 0 && page.events.length === PAGE) {
        if (!own.heldBy) return begin(page);
        // More has come than is on a page: the list is begun anew when it goes on.
        own.hasGap = true;
      }
      page.events.toReversed().forEach(take);
      if (all) await others(own, page);
    });
  } catch (error) {
    missed(own, error);
  }
}

/** What was asked for besides a search has not come. What it would have brought comes by itself no second time, so it is asked for again. */
function missed(own, error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refused)) throw error;
  if (view === own && error.mayPass) askLater(own);
}

function askLater(own) {
  own.later ??= setTimeout(() => {
    own.later = null;
    frame("reset", {});
  }, LATER_MS);
}

/** Asks what has become of those that are drawn and stand on no such page. */
async function others(own, page) {
  const asked = new Set(page.events.map((event) => event.id));
  const rest = own.items.slice(0, DRAWN_MAX).filter((item) => !item.skipped && !asked.has(item.id)).map((item) => item.id);
  while (rest.length) {
    const { events } = await post("events/search", { events: rest.splice(0, GATHERED_MAX) }, own.controller.signal);
    if (view !== own) return;
    events.forEach(settled);
  }
}

function arrived(event) {
  if (!isFiltered()) return take(event);
  if (event.skipped) return again();
  view.gathered.push(event.id);
  view.gathering ??= setTimeout(gather, GATHER_MS);
}

/** Which of the events that came are wanted. */
async function gather() {
  const own = view;
  const ids = own.gathered.splice(0);
  own.gathering = null;
  if (ids.length > GATHERED_MAX) return again();
  try {
    await before(own, async () => {
      const page = await search({ events: ids }, own.controller.signal);
      if (view === own) page.events.toReversed().forEach(take);
    });
  } catch (error) {
    missed(own, error);
  }
}

/**
 * A new one: above the older ones, or among those that wait while somebody reads. One that a search has brought before it comes by itself may
 * stand elsewhere by then, and that is told with it alone.
 */
function take(event) {
  if (view.seen.has(event.id)) return event.deliveries && settled(event);
  view.seen.add(event.id);
  const list = view.heldBy ? view.waiting : view.items;
  const isOlder = (known) => known.received_at < event.received_at || (known.received_at === event.received_at && known.id < event.id);
  const at = list.findIndex(isOlder);
  list.splice(at < 0 ? list.length : at, 0, event);
  if (view.items.length > KNOWN_MAX) {
    view.items.length = KNOWN_MAX;
    view.next = null;
    view.isCut = true;
  }
  if (view.waiting.length > KNOWN_MAX) view.waiting.length = KNOWN_MAX;
  view.untold += event.skipped ?? 1;
  draw();
}

/** What became of deliveries of one that is shown. */
function settled({ id, deliveries }) {
  for (const list of [view.items, view.waiting]) {
    const known = list.find((event) => event.id === id);
    if (!known) continue;
    const now = new Map([...known.deliveries, ...deliveries].map((delivery) => [delivery.destination, delivery]));
    known.deliveries = [...now.values()];
  }
  draw();
  detail?.frame("deliveries", { id, deliveries });
}

// ---- held while somebody reads

function scrolled() {
  const isReading = view.scroll.scrollTop > READING_PX;
  if (isReading && !view.heldBy) hold("reading");
  if (!isReading && view.heldBy === "reading") letIn();
}

function hold(by) {
  if (!by) return letIn();
  view.heldBy = by === true ? "hand" : by;
  drawLive();
}

function letIn() {
  view.heldBy = null;
  if (view.hasGap) return load();
  view.items.unshift(...view.waiting.splice(0));
  view.scroll.scrollTop = 0;
  draw();
}

function drawLive() {
  const isHeld = view.heldBy !== null;
  const word = isHeld ? "Held" : relay.isLive ? "Live" : "Every 5 s";
  if (view.live.dataset.word !== word) {
    view.live.dataset.word = word;
    view.live.setAttribute("aria-pressed", String(!isHeld));
    fill(view.live, icon(isHeld ? "play" : "pause"), h("span", null, word));
    view.live.title = isHeld ? "Let new events in (p)" : "Hold the list (p)";
  }
  const waits = view.waiting.reduce((so_far, event) => so_far + (event.skipped ?? 1), 0);
  view.newer.hidden = waits === 0;
  if (waits) say(view.newer, `${many(waits, "new event")} · held ${view.heldBy === "reading" ? "while you read" : "by you"}`);
}

// ---- drawing

let isDrawing = false;

/** Draws soon, and all that has changed until then at once. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (view) drawNow();
  });
}

function drawNow() {
  const items = [];
  let day = null;
  const first = view.rows.childElementCount === 0;
  for (const event of view.items.slice(0, first ? FIRST_ROWS : DRAWN_MAX)) {
    const its = dayOf(event.received_at);
    if (day !== null && its !== day) items.push({ id: `day-${its}`, day: its });
    day = its;
    items.push(event);
  }
  keyed(view.rows, items, (item) => item.id, (item) => make(item, first || view.isFilling), update);
  view.isFilling = first;
  for (const row of view.rows.querySelectorAll("a.row")) row.tabIndex = -1;
  const current = view.rows.querySelector("a.row[aria-current]") ?? view.rows.querySelector("a.row");
  if (current) current.tabIndex = 0;
  if (view.goesToFirst) view.rows.querySelector("a.row")?.focus({ preventScroll: true });
  view.goesToFirst = false;
  drawFoot();
  drawLive();
  tell();
  if (first && items.length) requestAnimationFrame(drawn);
}

/** The first rows are on the screen. */
function drawn() {
  // The benchmark asks when.
  performance.mark("listed");
  if (view?.items.length > FIRST_ROWS) draw();
}

function make(item, first) {
  if (item.day) return h("li.day", null, item.day);
  if (item.skipped) return h("li.skipped-row", null, `… ${many(item.skipped, "more event")} ${between(timeOf(item.from), timeOf(item.received_at))}: `, h("button.link", { type: "button", onclick: anew }, "load the list anew"));
  const row = h("a.row", null, moment(item.received_at), h("span.type.foreign", null, item.type || "–"), what(item), h("span.went"));
  row.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(here({ id: item.id }));
  });
  return h("li", { class: first ? "" : "fresh" }, row);
}

function between(from, until) {
  return from === until ? `at ${until}` : `between ${from} and ${until}`;
}

/** Begins the list anew, and goes on at its first row. */
async function anew() {
  if (!(await load())) return;
  view.goesToFirst = true;
  draw();
}

function update(child, item) {
  if (!item.deliveries) return;
  const row = child.firstElementChild;
  if (row.query !== view.query) {
    row.query = view.query;
    row.href = here({ id: item.id });
  }
  const isCurrent = item.id === view.chosen;
  if (isCurrent !== row.hasAttribute("aria-current")) {
    if (isCurrent) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  const states = item.deliveries.map(({ destination, state }) => `${destination} ${state}`).join("\n");
  const went = row.querySelector(".went");
  if (went.states === states) return;
  went.states = states;
  fill(went, outcomes(item.deliveries));
}

function drawFoot() {
  const { page, items, failed } = view;
  if (failed) return fill(view.foot, h("p.bad", null, prose(failed.message), failed.mayPass && " It is asked again by itself."), hints(false), failed.mayPass || !isFiltered() ? button("Try again", load) : h("a.btn", { href: link("events") }, "Show all"));
  if (!page) return;
  const warned = [(page.warnings ?? []).map((warning) => h("p.wait", null, prose(warning))), hints(!items.length)];
  if (!items.length && !view.waiting.length) return fill(view.foot, warned, nothing());
  const back = page.back_to && h("span", null, " back to ", moment(page.back_to, "full"));
  const looked = isFiltered() ? [`Looked at ${many(page.looked_at, "event")}`, back, ". "] : [];
  if (view.isCut || items.length > DRAWN_MAX) return fill(view.foot, `The newest ${count(Math.min(items.length, DRAWN_MAX))} are shown. `, h("button.link", { type: "button", onclick: anew }, "Load the list anew"));
  fill(view.foot, warned, looked, view.next ? h("button.link", { type: "button", onclick: further }, isFiltered() ? "Look further back" : "Show more") : "This is where the history begins.");
}

/** What in the search may be a slip, with the search that may be meant. */
function hints(foundNone) {
  const typed = place().query.get("q");
  if (!typed) return [];
  if (!slips) {
    // Without it, less is said.
    import("./slips.js").then((loaded) => ((slips = loaded.slips), draw()), () => {});
    return [];
  }
  return slips(typed, foundNone).map(({ said, instead }) => h("p.wait", null, prose(said), " ", h("a.foreign", { href: here({ q: instead }) }, instead)));
}

function nothing() {
  if (isFiltered()) {
    const { page } = view;
    const how = view.next ? `The last ${many(page.looked_at, "event")} were looked at.` : "The whole history was looked at.";
    return empty("Nothing like that", how, view.next && button("Look further back", further), h("a.btn", { href: link("events") }, "Show all"));
  }
  return empty(
    "Nothing has come in yet",
    "Send a sample, or give Vero the address that `vero-relay urls` prints. What was refused is told of too.",
    h("a.btn.first", { href: link("try") }, "Send a sample"),
    h("a.btn", { href: link("unrouted", ["refused"]) }, "Was something turned away?"),
  );
}

/** Tells those who listen how many are new, now and then, and not while somebody types. */
function tell() {
  if (!view.untold || Date.now() - view.told < ANNOUNCE_EVERY_MS || document.activeElement?.matches("input,textarea")) return;
  if (view.told) announce(many(view.untold, "new event"));
  Object.assign(view, { told: Date.now(), untold: 0 });
}

// ---- one event

function choose(id) {
  if (view.chosen === id && view.aside.firstChild) return;
  const before = view.chosen;
  view.chosen = id;
  view.main.classList.toggle("open", id !== null);
  title();
  if (id) showOne(view, id);
  else {
    detail?.close();
    fill(view.aside, empty("No event is chosen", "Choose one to see where it went, what each destination answered, and why."));
    if (before) rowOf(before)?.focus();
  }
  draw();
}

async function showOne(own, id) {
  try {
    detail ??= await import("./event.js");
  } catch {
    // An import that failed is not tried again by a browser.
    if (view === own && own.chosen === id) fill(own.aside, empty("This event could not be loaded", "The relay does not answer.", button("Try again", () => location.reload())));
    return;
  }
  if (view !== own || own.chosen !== id) return;
  detail.open(own.aside, id, { back: () => go(here({ id: null })), isPhone: matchMedia("(max-width: 1000px)").matches });
}

function rowOf(id) {
  return view.rows.keyed?.get(id)?.firstElementChild;
}

export function key(name, event) {
  if (name === "/") {
    event.preventDefault();
    view.input.focus();
    view.input.select();
  } else if (name === "p") hold(!view.heldBy);
  else if (name === "j" || name === "ArrowDown") move(1, event);
  else if (name === "k" || name === "ArrowUp") move(-1, event);
  else if (name === "Enter" && view.chosen && view.rows.contains(document.activeElement)) {
    event.preventDefault();
    view.aside.focus();
  } else if (name === "Escape") {
    if (document.activeElement === view.input) view.input.blur();
    else if (view.chosen && !view.rows.contains(document.activeElement)) rowOf(view.chosen)?.focus();
    else if (view.chosen) go(here({ id: null }));
  } else detail?.key(name, event);
}

function move(by, event) {
  const inDetail = view.aside.contains(document.activeElement);
  if (event.key.startsWith("Arrow") && inDetail) return;
  event.preventDefault();
  const all = view.items.filter((item) => !item.skipped);
  const at = all.findIndex((item) => item.id === view.chosen);
  const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
  if (!next) return;
  go(here({ id: next.id }), { replace: true });
  const row = rowOf(next.id);
  row?.focus({ preventScroll: true });
  row?.scrollIntoView({ block: "nearest" });
}

export function zone() {
  draw();
}

export function live() {
  drawLive();
}
