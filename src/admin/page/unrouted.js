// Unrouted: what came in and went nowhere, grouped by what it is and how near it came; and what was turned away at the door.

import { Refused, get } from "./api.js";
import { entry, search } from "./asked.js";
import { button, count, fill, h, icon, many, moment, prose } from "./dom.js";
import { meant, values } from "./event.js";
import { LAST, empty, link, sum, unanswered } from "./parts.js";
import { named, routeAgain } from "./route.js";

/** Why requests were turned away, behind their number. */
const REASONS = {
  wrong_address: "came to an address that is no source's",
  method: "did not come as a POST",
  body_timeout: "did not arrive in time",
  too_large: "had too large a body",
  encoding: "had a body that is packed in an unknown way",
  bad_event: "held no event that can be read",
  unavailable: "came while nothing was accepted",
  other: "had another reason",
};
let view = null;

export function open(main) {
  const head = h("header.pagehead");
  const body = h("div");
  main.append(h("div.wide", null, head, body));
  view = { head, body, tab: null, type: null };
}

export function close() {
  view = null;
}

export function show({ rest, query }) {
  const tab = rest[0] === "refused" ? "refused" : "unrouted";
  const one = (name, label) => h("a", { href: link("unrouted", name === "refused" ? [name] : []), "aria-current": name === tab ? "page" : null }, label);
  const text = tab === "refused" ? "Requests that were answered with an error at the door. Nothing of them is kept but this." : "Accepted and kept in the history, but delivered nowhere.";
  fill(view.head, h("div", null, h("h1", null, "Unrouted"), h("p.dim", null, text)), h("div.segments", null, one("unrouted", "No rule wanted"), one("refused", "Turned away")));
  view.tab = tab;
  view.type = query.get("type");
  load();
}
export { show as go };

export function frame(kind) {
  if (kind === "reset" || kind === "config") load();
}

async function load() {
  const own = view;
  const { tab } = own;
  if (!own.body.firstChild) fill(own.body, h("p.dim", null, "…"));
  const run = (own.run = Symbol("run"));
  const isOver = () => view !== own || own.run !== run;
  try {
    if (tab === "refused") {
      const found = await get("refused");
      if (!isOver()) drawRefused(found);
    } else {
      await loadGroups(isOver);
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (!isOver()) fill(own.body, unanswered(error, load));
  }
}

/** Piece by piece, as the relay answers: what is alike in two of them is one group. */
async function loadGroups(isOver) {
  const { type } = view;
  const whole = { events: 0, looked_at: 0, not_grouped: 0, redacted: 0, groups: new Map(), types: new Set() };
  let after = null;
  do {
    const piece = await get("unrouted", { last: LAST, type: type && entry(type), after });
    if (isOver()) return;
    for (const key of ["events", "looked_at", "not_grouped", "redacted"]) whole[key] += piece[key];
    for (const group of piece.groups) add(whole.groups, group);
    for (const further of piece.further_types) whole.types.add(further);
    after = piece.next;
    const groups = [...whole.groups.values()].toSorted((one, other) => other.count - one.count);
    drawGroups({ ...whole, groups, goesOn: after !== null });
  } while (after !== null);
}

/** What events of one group have in common. */
function keyOf({ type, now: names, held_by: held, nearest }) {
  return JSON.stringify([type, names, held, nearest && [nearest.rule, nearest.failed.map(({ field }) => field)]]);
}

function add(groups, one) {
  const key = keyOf(one);
  const known = groups.get(key);
  if (!known) return groups.set(key, one);
  // Pieces go back in time.
  known.count += one.count;
  known.first_at = one.first_at;
}

function drawGroups(found) {
  const only = view.type !== null && h("p", null, "Only events of the type ", h("b.foreign", null, view.type), ". ", h("a", { href: link("unrouted") }, "Show all"));
  if (!found.groups.length && !found.goesOn && !found.redacted) {
    return fill(view.body, only, found.looked_at ? empty("Every event went somewhere", found.looked_at === 1 ? "The last one was looked at." : `The last ${count(found.looked_at)} were looked at.`) : empty("Nothing has come in yet", "What no rule wants is shown here."));
  }
  const wanted = found.groups.filter((one) => one.now.length > 0);
  fill(
    view.body,
    only,
    wanted.length > 1 && !found.goesOn && h("div.acts", null, button(`Route all of these ${count(wanted.length)} groups again…`, () => again(...wanted))),
    h("p.dim", null, `${count(found.events)} of the last ${many(found.looked_at, "event")}, by what they are and how near they came${found.goesOn ? " …" : "."}`),
    h("div.groups", null, found.groups.map(group)),
    found.redacted > 0 && h("p.dim", null, `${many(found.redacted, "event")} of which values were taken away: why they went nowhere is not known any more, and they cannot be sent again.`),
    found.not_grouped > 0 && further(found),
  );
}

/** What is beyond the groups that one answer holds: one type at a time. */
function further({ not_grouped: events, types }) {
  const chips = [...types].map((type) => h("a.chip.foreign", { href: link("unrouted", [], { type }) }, type));
  return [h("p.dim", null, `${many(events, "event")} more, in groups that are not shown.`), chips.length > 0 && h("div.chips", { role: "group", "aria-label": "By type" }, h("span.dim", null, "Show those of"), chips)];
}

function group(one) {
  const { nearest } = one;
  return h(
    "section.group",
    { "aria-label": `${one.type || "no type"}, ${many(one.count, "event")}` },
    h("div.how-many", null, h("b", null, count(one.count)), h("span.foreign", null, one.type || "no type")),
    h(
      "div",
      null,
      one.now.length > 0 ? now(one) : one.held_by ? held(one) : nearest ? near(nearest) : h("p.dim", null, "No rule comes near: none asks for events like these."),
      h("p.dim", null, "Last ", moment(one.last_at, "ago"), one.examples.map((id, at) => [" · ", h("a", { href: link("events", [id]) }, `example ${at + 1}`)])),
    ),
    h("div.acts", null, h("a.btn", { href: link("events", [], { q: search("type", one.type), show: "unrouted" }), title: "All events of this type that went nowhere, of whatever group" }, "See all of this type"), one.now.length > 0 && button("Route again…", () => again(one))),
  );
}

function held({ held_by: rule, held_because: because }) {
  return h("p", null, "Held back by ", h("b.foreign", null, rule), ": ", h("span.foreign", null, because), ".");
}

function now({ now: names }) {
  return h("p", null, h("span.good", null, icon("yes")), " By the rules in force now such events go to ", names.map((name, at) => [at > 0 && ", ", h("b.foreign", null, name)]), ".");
}

function near(nearest) {
  return [
    h("p", null, "Nearest: ", h("b.foreign", null, nearest.rule), h("span.dim", null, nearest.of === 1 ? " · its one condition does not hold" : ` · ${nearest.holding} of ${many(nearest.of, "condition")} hold${nearest.holding === 1 ? "s" : ""}`)),
    nearest.failed.map((failed) =>
      h("p.miss", null, h("code.foreign", null, failed.field), h("span.dim", null, "expected"), h("code.foreign", null, failed.expected), failed.got.length ? [h("span.dim", null, "got"), h("code.foreign.bad", null, values(failed))] : h("span.dim", null, "and the event has none")),
    ),
    meant(nearest) && h("p", null, meant(nearest)),
  ];
}

/** The events of some groups, by their ids: those that the relay finds in them now. */
async function idsOf(groups) {
  const keys = new Set(groups.map(keyOf));
  const ids = [];
  let after = null;
  do {
    const piece = await get("unrouted", { last: LAST, ids: true, after });
    for (const found of piece.groups) if (keys.has(keyOf(found))) ids.push(...found.ids);
    after = piece.next;
  } while (after !== null);
  return ids;
}

/** Has the events of some groups routed again, and no others. */
function again(...groups) {
  const about = groups.length > 1 ? `The events of these ${count(groups.length)} groups, and no others.` : "The events of this group, and no others.";
  routeAgain({ about, commands: async () => named(await idsOf(groups)) });
}

function drawRefused(found) {
  if (!found.refused.length) return fill(view.body, empty("Nothing was turned away", "Every request to the hooks was accepted, since the relay was started."));
  const counts = Object.entries(found.counts ?? {});
  const all = sum(counts.map(([, number]) => number));
  const rows = found.refused.map((one) =>
    h("tr", null, h("td", null, moment(one.at, "full")), h("td", null, h("b", null, one.status)), h("td", null, prose(one.reason ?? "")), h("td", null, h("code.foreign", null, `${one.method} ${one.path}`), one.source && h("span.dim", null, " from ", h("span.foreign", null, one.source)), one.body && [" ", h("code.answer.foreign", null, one.body)])),
  );
  fill(
    view.body,
    counts.length > 0 && h("p.dim", null, `${many(all, "request")} ${all === 1 ? "was" : "were"} turned away since the start: `, counts.map(([reason, number]) => `${count(number)} ${REASONS[reason] ?? REASONS.other}`).join(", "), "."),
    h("div.tablebox.cards", { tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["When", "Status", "Why", "What came"].map((head) => h("th", { scope: "col" }, head)))), h("tbody", null, rows))),
  );
}
