// Destinations: how each stands, in a sentence that says what happens by itself and what somebody must do; what waits, and what was given
// up; and the hands on it.

import { Refused, get, post, refresh, relay } from "./api.js";
import { search } from "./asked.js";
import { button, count, fill, h, icon, keyed, many, moment, now, size, span } from "./dom.js";
import { ask, once } from "./acts.js";
import { announce, empty, go, link, share, stateOf, sum, title, toast, troubleFirst, unanswered } from "./parts.js";
import * as slack from "./slack.js";
import { chart, sinceWhen, standing } from "./strip.js";

/** Characters of the reason of a pause, as the relay counts them: a browser's own `maxlength` counts some of them twice. */
const REASON_CHARACTERS_MAX = 250;
/** With more destinations than these, some are looked for by a word. */
const UNFILTERED_MAX = 12;
/** Rows of a table. */
const ROWS = 100;
/** Where much is said of the one that is shown, it is asked for this often. */
const LOAD_EVERY_MS = 500;

let view = null;

export function open(main) {
  const input = h("input", { type: "search", placeholder: "Name, kind, address or state", "aria-label": "Only destinations with this", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", oninput: () => draw() });
  const find = h("div.find", { hidden: true }, h("label.box", null, icon("search"), input, h("kbd", { "aria-hidden": "true" }, "/")));
  const list = h("div");
  const none = h("div");
  const aside = h("article.detail", { tabindex: "-1", "aria-label": "The destination" });
  main.append(h("div.split.narrow", null, h("nav.list", { "aria-label": "Destinations" }, h("h1.offscreen", null, "Destinations"), find, h("div.scroll", null, list, none)), aside));
  view = { main, input, find, list, none, aside, name: null, selected: new Set(), reason: null };
  draw();
}

export function close() {
  view = null;
}

export function show({ rest, query }) {
  const name = rest[0] ?? null;
  title(name, "Destinations");
  view.main.classList.toggle("open", name !== null);
  if (view.name !== name) {
    Object.assign(view, { name, letters: null, reasons: null, waiting: null, digest: null, selected: new Set(), facts: null, failed: null });
    fill(view.aside);
  }
  const reason = query.get("reason");
  if (view.reason !== reason) Object.assign(view, { reason, letters: null, selected: new Set() });
  draw();
  load();
}
export { show as go };

export function relayChanged() {
  draw();
}
export { relayChanged as relay };

export function frame(kind, data) {
  if (kind === "destination" && data.name === view.name) soon();
  if (kind === "reset") load();
}

/** However often something is said of it, it is asked for now and then. */
function soon() {
  const own = view;
  own.soon ??= setTimeout(() => {
    own.soon = null;
    if (view === own) load();
  }, LOAD_EVERY_MS);
}

export function key(name, event) {
  if (name === "/" && !view.find.hidden) {
    event.preventDefault();
    view.input.focus();
    return view.input.select();
  }
  if (name === "Escape" && document.activeElement === view.input) return view.input.blur();
  const all = shown();
  const at = all.findIndex((destination) => destination.name === view.name);
  const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[name];
  if (by && !view.aside.contains(document.activeElement)) {
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    if (next) {
      go(link("destinations", [next.name]), { replace: true });
      [...view.list.children].find((row) => row.hash === link("destinations", [next.name]))?.focus();
    }
  }
  if (name === "Enter" && view.name && view.list.contains(document.activeElement)) {
    event.preventDefault();
    view.aside.focus();
  }
  if (name === "Escape" && view.name) go(link("destinations"));
}

function named(name) {
  return relay.status?.destinations.find((known) => known.name === name);
}

/** Those that the filter leaves, in trouble first. */
function shown() {
  const all = relay.status?.destinations ?? [];
  const word = all.length > UNFILTERED_MAX ? view.input.value.trim().toLowerCase() : "";
  const says = ({ name, kind, address, state }) => [name, kind, address, stateOf(state).word].some((text) => text?.toLowerCase().includes(word));
  return troubleFirst(all.filter(says));
}

function draw() {
  if (!relay.status) return;
  const number = relay.status.destinations.length;
  const all = shown();
  view.find.hidden = number <= UNFILTERED_MAX;
  keyed(view.list, all, (item) => item.name, (item) => h("a.destination", { href: link("destinations", [item.name]) }), drawRow);
  const what = all.length ? "" : number ? `None of the ${count(number)} has that in its name, kind, address or state.` : "The config names none, so nothing goes anywhere.";
  if (view.none.said !== what) fill(view.none, what && (number ? h("p.foot", null, what) : empty("No destinations", what)));
  view.none.said = what;
  drawDetail();
}

function drawRow(row, item) {
  if (item.name === view.name) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
  const known = JSON.stringify([item, relay.minutes?.destinations[item.name]]);
  if (row.known === known) return;
  row.known = known;
  const { colour, sign, word } = stateOf(item.state);
  const hour = sum(relay.minutes?.destinations[item.name]?.delivered);
  fill(
    row,
    h("span.line", null, h(`span.${colour}`, null, icon(sign, word)), h("b.foreign", null, item.name), h("span.dim.end", null, item.kind ?? "")),
    chart(item.name),
    h("span.line.under", null, standing(item), h("span.dim.end", null, `${count(hour)} ${sinceWhen()}`)),
  );
}

// ---- one of them

async function load() {
  const own = view;
  const { name, reason } = own;
  const run = (own.run = Symbol("run"));
  if (!name || relay.onlyLooks || (relay.status && !named(name))) return;
  try {
    const gathers = (relay.status && named(name)?.digest?.events) > 0;
    const [letters, reasons, waiting, digest] = await Promise.all([
      get("dead-letters", { destination: name, reason_is: reason, limit: ROWS }),
      get("dead-letters/reasons", { destination: name }),
      post("events/search", { destination: name, state: "waiting,in_flight,scheduled", limit: 20 }),
      gathers ? get(`destinations/${encodeURIComponent(name)}/digest`) : null,
    ]);
    // What was asked for since is another destination's, has another reason, or is newer.
    if (view !== own || own.run !== run) return;
    // The last one with this reason is replayed or dropped.
    if (reason !== null && !letters.dead_letters.length) return go(link("destinations", [name]), { replace: true });
    Object.assign(own, { letters, reasons: reasons.reasons, waiting, digest, failed: null });
    drawDetail();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (view !== own || own.run !== run) return;
    own.failed = own.letters ? null : unanswered(error, load);
    if (own.failed) drawDetail();
    else toast(error.message);
  }
}

function drawDetail() {
  const { aside, name } = view;
  if (!name) return fill(aside, empty("No destination is chosen", "Choose one to see what waits for it, what it answered, and what was given up."));
  if (!relay.status) return;
  const item = named(name);
  if (!item) return fill(aside, empty("No such destination", `Neither the config nor a queue has a destination ${name}.`, h("a.btn", { href: link("destinations") }, "To the list")));
  if (!aside.parts || !aside.contains(aside.parts.head)) {
    aside.parts = { head: h("header"), sentence: h("p.sentence"), facts: h("dl.facts"), chart: h("figure.chart"), digest: h("section.digest"), waiting: h("section"), dead: h("section.dead") };
    fill(aside, Object.values(aside.parts));
  }
  drawHead(aside.parts.head, item);
  drawSentence(aside.parts.sentence, item);
  drawFacts(aside.parts.facts, item);
  drawChart(aside.parts.chart, item);
  drawDigest(aside.parts.digest, item);
  drawWaiting(aside.parts.waiting, item);
  drawDead(aside.parts.dead, item);
}

function drawHead(parent, item) {
  const known = JSON.stringify([item.name, item.state, item.kind, item.address, item.scheduled > 0]);
  if (parent.known === known) return;
  parent.known = known;
  const isPaused = item.state === "paused";
  fill(
    parent,
    h("div.head", null, button("", () => go(link("destinations")), { kind: "quiet square back", sign: "back", "aria-label": "To the list" }), h("h1.foreign", { tabindex: "-1" }, item.name, item.kind && h("span.more", null, item.kind))),
    item.address && h("p.dim", null, h("code.foreign", null, item.address)),
    !relay.onlyLooks && h(
      "div.acts",
      null,
      isPaused ? button("Resume", (event) => resume(event.currentTarget, item.name), { kind: "first", sign: "play" }) : button("Pause…", () => pause(item.name), { sign: "pause" }),
      button("Retry now", (event) => retry(event.currentTarget, item.name), { sign: "again", disabled: item.scheduled === 0 }),
      h("a.btn", { href: link("events", [], { q: search("to", item.name) }) }, "Its events"),
    ),
  );
}

/** How it stands, what happens by itself, and what somebody must do. */
function sentence(item) {
  const dead = item.dead_letters > 0 && [h("b.bad", null, many(item.dead_letters, "dead letter")), item.dead_letters === 1 ? " wants a decision: replay it once the cause is mended, or drop it." : " want a decision: replay them once the cause is mended, or drop them."];
  const { held_until: heldUntil } = item;
  switch (item.state) {
    case "failing":
      return [h("b", null, "Failing since ", moment(item.breaker.open_since)), ": its attempts fail one after the other. One at a time is made until one succeeds, at most a minute apart. ", item.next_probe_at && ["The next one is made ", moment(item.next_probe_at, "until"), ". "], "Nothing is lost, and the time does not count towards giving up. ", dead];
    case "paused":
      return [h("b", null, "Paused since ", moment(item.paused.since)), ": ", h("span.foreign", null, item.paused.reason), `${/[.!?]$/.test(item.paused.reason) ? "" : "."} Nothing is sent and nothing is lost; what comes in waits until it is resumed. `, item.removed?.dead_letters_from && ["The config names it no more: what waits becomes dead letters ", moment(item.removed.dead_letters_from, "until"), ". "], dead];
    case "removed":
      return [h("b", null, "Removed"), ": the config names it no more. ", item.removed?.dead_letters_from && ["What waits for it becomes dead letters ", moment(item.removed.dead_letters_from, "until"), ", unless it comes back or another takes it over by renamed_from. "], dead];
    default:
      if (heldUntil) return [h("b", null, "Up"), ", and it asked to be left alone until ", moment(heldUntil), `: ${item.last_error?.reason ?? ""}. It goes on by itself. `, dead];
      if (item.digest?.quiet_until) return [h("b", null, "Up"), ", and quiet until ", moment(item.digest.quiet_until), ": only what is urgent goes out. ", item.digest.events > 0 && `${many(item.digest.events, "delivery", "deliveries")} ${item.digest.events === 1 ? "waits" : "wait"} for the end of it, and ${item.digest.events === 1 ? "goes" : "go"} out together. `, dead];
      if (item.digest?.events && !item.backlog) return [h("b", null, "Up"), `: ${many(item.digest.events, "delivery", "deliveries")} held to go out together`, item.digest.at && [" ", moment(item.digest.at, "until")], ". ", dead];
      if (item.backlog) return [h("b", null, "Up"), `: ${many(item.backlog, "delivery", "deliveries")} waiting`, item.scheduled > 0 && `, ${count(item.scheduled)} of them for another attempt`, ". They go out by themselves. ", dead];
      if (item.held) return [h("b", null, "Up"), `: ${many(item.held, "delivery", "deliveries")} held, as the source they came from is paused. ${item.held === 1 ? "It goes" : "They go"} out when somebody resumes that, on the page Config. `, dead];
      if (!dead && !item.last_delivered_at) return [h("b", null, "Up"), ": nothing waits, and nothing was delivered since the start."];
      return [h("b", null, "Up"), dead ? ": nothing waits, but " : ": all is delivered, and nothing waits.", dead];
  }
}

function drawSentence(parent, item) {
  const known = JSON.stringify([item.state, item.backlog, item.held, item.scheduled, item.dead_letters, item.last_delivered_at, item.held_until, item.next_probe_at, item.paused, item.removed, item.digest]);
  if (parent.known === known) return;
  parent.known = known;
  const { colour } = stateOf(item.state);
  parent.className = `sentence ${colour === "good" ? "" : `s-${colour}`}`;
  fill(parent, sentence(item));
}

function drawFacts(parent, item) {
  const minutes = relay.minutes?.destinations[item.name] ?? {};
  const failed = sum(minutes.failed);
  const facts = [
    ["Waiting", [h("b", null, count(item.backlog)), item.oldest_at && ` · oldest ${span(Math.max(0, now() - Date.parse(item.oldest_at)))}`]],
    [`Delivered ${sinceWhen()}`, [h("b", null, count(sum(minutes.delivered))), failed > 0 && h("span.bad", null, ` · ${many(failed, "failed attempt")}`)]],
    ["Last delivered", item.last_delivered_at ? moment(item.last_delivered_at, "ago") : "not since the start"],
    ["Last error", item.last_error ? [h("span.bad.foreign", null, item.last_error.reason), " · ", moment(item.last_error.at, "ago")] : "none since the start"],
    ["Kept on disk for it", size(item.backlog_bytes)],
    item.digest?.events > 0 && ["Held for a digest", [h("b", null, count(item.digest.events)), [" · goes out ", whenTogether(item, item.digest.at)]]],
    item.digest?.quiet_until && ["Quiet", ["until ", moment(item.digest.quiet_until)]],
    item.order?.behind > 0 && ["Behind an earlier one", [h("b", null, count(item.order.behind)), ` · ${many(item.order.keys, "order key")}`]],
    item.rate && ["Rate limit", item.rate],
  ];
  fill(parent, facts.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function drawChart(parent, item) {
  fill(parent, chart(item.name), h("figcaption", null, h("span", null, "60 min ago"), h("span", null, h("i.ok"), "delivered", h("i.failed"), "failed attempts"), h("span", null, "now")));
}

/** When what waits together goes out; what is paused waits for who resumes it, if not for longer. */
function whenTogether(item, at) {
  if (item.state !== "paused") return at ? moment(at, "until") : "soon";
  return ["when it is resumed", at && [", and not before ", moment(at, "until")]];
}

/** What waits to go out together, and the message as it would go out now. */
function drawDigest(parent, item) {
  const { digest } = view;
  if (!item.digest?.events || !digest) {
    parent.known = null;
    return fill(parent);
  }
  const { at, events, windows, groups, message: sends } = digest;
  const known = JSON.stringify([digest, item.state]);
  if (parent.known === known) return;
  parent.known = known;
  const rows = groups.map((group) => h("tr", null, h("td.foreign", null, group.name || "all others"), h("td.number", null, count(group.count)), h("td.number", null, count(group.passed)), h("td", null, moment(group.first_at)), h("td", null, moment(group.ends_at, "until"))));
  const drawn = item.kind === "slack" && sends?.body ? slack.message(sends.body, at ?? new Date(now()).toISOString()) : null;
  const text = sends && (sends.body ?? sends.content ?? sends.line);
  fill(
    parent,
    h("h2", null, "Next digest ", h("span.dim", null, whenTogether(item, at))),
    h("p", null, h("b", null, many(events, "delivery", "deliveries")), events === 1 ? " waits" : " wait", ` to go out together, in ${many(windows, "group")}${windows > groups.length ? `, of which ${count(groups.length)} are shown` : ""}. What comes until then is in it.`),
    table(["Group", "Waiting", "Sent by themselves", "Since", "Over"], rows),
    drawn ?? (text && h("pre.foreign", null, text)),
    !relay.onlyLooks && !item.digest.quiet_until && item.state !== "paused" && h("div.acts", null, button("Send it now", (event) => digestNow(event.currentTarget, item.name), { sign: "play" })),
  );
}

function drawWaiting(parent, item) {
  const { waiting } = view;
  if (!item.backlog || !waiting?.events.length) return fill(parent);
  const rows = waiting.events.map((event) => {
    const delivery = event.deliveries.find((known) => known.destination === item.name);
    const next = delivery?.waits_for === "breaker" ? "when the destination is up again" : delivery?.next_attempt_at ? ["next attempt ", moment(delivery.next_attempt_at, "until")] : stateOf(delivery?.state).word;
    return h("tr", null, h("td", null, moment(event.received_at)), h("td", null, eventLink(event)), h("td", null, h("span.dim", null, next)));
  });
  fill(parent, h("h2", null, "Waiting ", h("span.dim", null, `${share(waiting.events.length, item.backlog)}, the newest first`)), table(["Accepted", "Event", ""], rows));
}

function eventLink(event) {
  return [h("a", { href: link("events", [event.id ?? event.event]) }, h("b.foreign", null, event.type || "–"), " ", h("span.foreign", null, event.campaign ?? "")), event.who && h("span.dim.foreign", null, ` ${event.who}`)];
}

function table(heads, rows) {
  return h("div.tablebox.cards", { tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", null, rows)));
}

// ---- dead letters

function drawDead(parent, item) {
  const { letters, reasons, selected, reason } = view;
  if (!item.dead_letters && parent.known !== "none") fill(parent, h("h2", null, "Dead letters"), h("p.dim", null, "None: nothing was given up."));
  if (!item.dead_letters) return void (parent.known = "none");
  if (relay.onlyLooks) return fill(parent, h("h2", null, "Dead letters ", h("span.dim", null, count(item.dead_letters))), h("p.dim", null, "This token shows states and numbers, and no events."));
  if (view.failed && parent.firstElementChild !== view.failed) return fill(parent, view.failed);
  if (!letters || !reasons) return;
  const { as_of: asOf, ...list } = letters;
  const known = JSON.stringify([list, reasons, [...selected], reason, item.dead_letters]);
  if (parent.known === known && parent.firstChild) return;
  parent.known = known;
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.event : null;
  const chip = (label, value) => h("button.chip", { type: "button", "aria-pressed": String(reason === value), onclick: () => go(link("destinations", [item.name], { reason: value })) }, label);
  const shown = letters.dead_letters;
  const all = h("input", { type: "checkbox", "aria-label": "All that are shown", checked: selected.size > 0 && selected.size === shown.length, indeterminate: selected.size > 0 && selected.size < shown.length });
  all.addEventListener("change", () => choose(all.checked ? shown.map((letter) => letter.event) : []));
  const rows = shown.map((letter) => {
    const box = h("input", { type: "checkbox", checked: selected.has(letter.event), "data-event": letter.event, "aria-label": `${letter.type} ${letter.who ?? ""}`, disabled: !letter.event });
    box.addEventListener("change", () => {
      const next = new Set(selected);
      if (box.checked) next.add(letter.event);
      else next.delete(letter.event);
      choose([...next]);
    });
    return h("tr", { class: selected.has(letter.event) ? "selected" : "" }, h("td", null, h("label.tick", null, box)), h("td", null, letter.at ? moment(letter.at) : "–"), h("td", null, letter.event ? eventLink(letter) : "its event cannot be read"), h("td", null, h("span.bad.foreign", null, letter.reason), " ", letter.answer && h("code.answer.foreign", null, letter.answer)));
  });
  const total = reason === null ? item.dead_letters : (reasons.find((known_) => known_.reason === reason)?.deliveries ?? shown.length);
  // As it is drawn: whatever is chosen or given up later, the buttons do what they say.
  const meant = { destination: item.name, ...(selected.size ? { events: [...selected] } : { reason_is: reason, until: asOf }) };
  const what = selected.size ? `${count(selected.size)} selected` : reason === null ? `all ${count(total)}` : `all ${count(total)} with “${reason}”`;
  fill(
    parent,
    h("h2", null, "Dead letters ", h("span.dim", null, count(item.dead_letters))),
    h("div.chips", { role: "group", "aria-label": "By reason" }, chip(`All ${count(item.dead_letters)}`, null), reasons.map((known_) => chip(`${known_.reason} · ${count(known_.deliveries)}`, known_.reason))),
    h("div.acts", null, button(`Replay ${what}`, (event) => replay(event.currentTarget, meant), { kind: "first", sign: "again" }), button(`Drop ${what}…`, (event) => drop(event.currentTarget, meant), { kind: "harm" })),
    table([h("label.tick", null, all), "Given up", "Event", "Reason"], rows),
    letters.next && h("p.dim", null, `The newest ${count(shown.length)} are shown.`),
  );
  if (focused) parent.querySelector(`[data-event="${CSS.escape(focused)}"]`)?.focus();
}

function choose(events) {
  // Rows of another reason, which go as soon as those of this one are there.
  if (!view.letters) return;
  view.selected = new Set(events);
  drawDetail();
}

async function replay(element, meant) {
  const done = await once(element, (id) => post("dead-letters/replay", { id, ...meant }));
  if (!done) return;
  toast(`${many(done.deliveries, "dead letter")} on the way again.`);
  await after();
}

/** Counts first, so that whoever is asked hears how many they are now. */
async function drop(element, meant) {
  const place = location.hash;
  const counted = await once(element, () => post("dead-letters/drop", { ...meant, dry_run: true }));
  if (!counted || location.hash !== place) return;
  ask({
    title: `Drop ${many(counted.deliveries, "dead letter")}?`,
    content: h("p", null, "They will never be delivered, and are kept no longer."),
    label: `Drop ${count(counted.deliveries)}`,
    harm: true,
    keep: "Keep them",
    act: async (id) => {
      const done = await post("dead-letters/drop", { id, ...meant });
      toast(`${many(done.deliveries, "dead letter")} dropped.`);
      await after();
      return done;
    },
  });
}

async function after() {
  if (view) view.selected = new Set();
  await Promise.all([refresh(), view && load()]);
}

// ---- pause, resume, retry

/** Asks why, for whoever comes next; nobody must say it. */
function pause(name) {
  const reason = h("input", { type: "text", autocomplete: "off", placeholder: "Their API moves on Friday" });
  const { go: act } = ask({
    title: `Pause ${name}`,
    content: [h("label.field", null, "Why (it may be left empty)", reason), h("p.dim", null, "Whoever looks at the destination reads it until it is resumed. What comes in waits.")],
    label: `Pause ${name}`,
    act: async (id) => {
      const done = await post(`destinations/${encodeURIComponent(name)}/pause`, reason.value.trim() ? { id, reason: reason.value } : { id });
      toast(`${name} is paused.`, { about: name, label: "Resume", run: () => resume(document.createElement("button"), name) });
      await after();
      return done;
    },
  });
  reason.addEventListener("input", () => {
    const characters = [...reason.value];
    if (characters.length > REASON_CHARACTERS_MAX) reason.value = characters.slice(0, REASON_CHARACTERS_MAX).join("");
  });
  reason.addEventListener("keydown", (event) => event.key === "Enter" && act.click());
}

async function resume(element, name) {
  if (!(await once(element, (id) => post(`destinations/${encodeURIComponent(name)}/resume`, { id })))) return;
  toast(`${name} goes on.`, { about: name });
  await after();
}

async function digestNow(element, name) {
  const done = await once(element, (id) => post(`destinations/${encodeURIComponent(name)}/digest-now`, { id }));
  if (!done) return;
  toast(`${many(done.deliveries, "delivery goes", "deliveries go")} out together now.`);
  load();
}

async function retry(element, name) {
  const done = await once(element, (id) => post(`destinations/${encodeURIComponent(name)}/retry`, { id }));
  if (!done) return;
  toast(`${many(done.due_now, "retry", "retries")} due now.`);
  announce(`${done.due_now} due now`);
  await after();
}


