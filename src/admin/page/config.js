// Config: as it runs, with what each rule has matched beside it; the file that is not in force yet, and what it would do; the relay itself.

import { Refused, get, lookAtFile, post, refresh, relay } from "./api.js";
import { button, count, fill, h, many, moment, prose, size, span } from "./dom.js";
import { ask, once } from "./acts.js";
import { LAST, link, share, sum, toast, unanswered } from "./parts.js";
import { nowhere, routeAgain } from "./route.js";

/** Groups of changes that are shown, and examples of each. */
const EFFECTS = 40;
const EXAMPLES = 3;
/** A rule that says what it says for so long less than the relay runs has changed since. */
const CHANGED_AFTER_MS = 5000;
/** How often the file is looked at. */
const LOOK_EVERY_MS = 10000;

let view = null;

export function open(main) {
  const head = h("header.pagehead");
  const news = h("div");
  const yaml = h("section");
  const rules = h("section");
  const about = h("section");
  const sources = h("section");
  main.append(h("div.wide", null, head, news, h("div.columns", null, yaml, h("aside", null, rules, sources, about))));
  view = { head, news, yaml, rules, about, sources, found: null };
  fill(yaml, h("p.dim", null, "…"));
  load();
  lookAtFile();
  view.timer = setInterval(() => !document.hidden && lookAtFile(), LOOK_EVERY_MS);
}

export function close() {
  clearInterval(view.timer);
  view = null;
}

export function frame(kind, data) {
  // The frame looks at the file when the config is told of.
  if (kind === "config") load();
  if (kind === "reset" && data.reason !== "command") load(), lookAtFile();
}

export function relayChanged() {
  drawAbout();
  drawNews();
}
export { relayChanged as relay };

async function load() {
  const own = view;
  try {
    const [config, rules] = await Promise.all([get("config"), get("rules")]);
    if (view !== own) return;
    Object.assign(own, { config, rules_: rules });
    drawHead();
    drawYaml();
    drawRules();
    drawAbout();
    drawNews();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (view === own) fill(own.yaml, unanswered(error, load));
  }
}

function drawHead() {
  const { config } = view;
  fill(view.head, h("div", null, h("h1", null, "Config"), h("p.dim", null, h("code.foreign", null, config.file), ` · generation ${config.generation} · in force since `, moment(config.in_force_since, "full"))));
}

// ---- the file that is not in force

/** Draws how the file stands, where that is not what is shown already. */
function drawNews() {
  const { config, news } = view;
  const found = relay.file;
  if (!config || !found) return;
  const warnings = config.warnings ?? [];
  const text = warnings.join("\n");
  if (view.found === found && view.warned === text) return;
  Object.assign(view, { found, warned: text, tried: null });
  if (found.same) {
    return fill(news, warnings.length > 0 && h("details.note.s-wait", null, h("summary", null, many(warnings.length, "warning")), warnings.map(warned)));
  }
  const when = found.changed_at && [" ", moment(found.changed_at, "ago")];
  if (found.problems) {
    return fill(news, h("section.note.s-bad", { "aria-label": "The file has changed" }, h("p", null, h("b", null, "The file has changed"), when, ", and it is not good. The config before stays in force."), h("pre.foreign", null, errorsFirst(found.problems))));
  }
  const { tests, needs_restart: keys } = found;
  const tested = tests.failed.length ? `${share(tests.failed.length, tests.failed.length + tests.passed)} of its tests fail` : tests.passed ? `${many(tests.passed, "test")} of it pass${tests.passed === 1 ? "es" : ""}` : "it has no tests";
  const result = h("div");
  fill(
    news,
    h(
      "section.note.news",
      { "aria-label": "The file has changed" },
      h("p", null, h("b", null, "The file has changed"), when, ` and is good; ${tested}. Not yet in force:`),
      h("ul.changes", null, found.changes.length ? found.changes.map((change) => h("li.foreign", null, prose(change))) : h("li", null, "nothing that does anything")),
      keys.length > 0 && h("p", null, "The relay must be started anew for ", keys.map((key, at) => [at > 0 && ", ", h("code.foreign", null, key)]), ": a reload would be refused."),
      tests.failed.map((failed) => h("pre.foreign", null, failed)),
      found.warnings.map(warned),
      h("div.acts", null, button("What would it do?", (event) => tryIt(event.currentTarget, result)), !keys.length && button("Reload now", (event) => reload(event.currentTarget), { kind: "first" })),
      result,
    ),
  );
}

/** What must be mended stands before what may stay. */
export function errorsFirst(problems) {
  const each = problems.split(/\n\n(?=(?:error|warning)\b)/);
  return each.toSorted((one, other) => one.startsWith("warning") - other.startsWith("warning")).join("\n\n");
}

/** A warning, by its line: the file is the same for all of them. */
function warned(text) {
  const [, line, said] = /:(\d+):\d+: warning: ([^]*)$/.exec(text) ?? [null, null, text];
  return h("p.foreign.warned", null, line && [h("b", null, `Line ${line}:`), " "], prose(said));
}

/** Tries the changed file with the history, piece by piece. */
async function tryIt(element, result) {
  const own = view;
  const whole = await once(element, async () => {
    const range = await get("what-if", { last: LAST });
    const totals = { events: 0, appears: 0, vanishes: 0, changes: 0, moves: 0, waits: 0, stays: 0, not_grouped: 0, skipped: 0, redacted: 0, groups: new Map(), messages: new Map(), none: { events: 0, examples: [] }, gone: [], warnings: [] };
    let after = range.next;
    let digest = null;
    // Also where there is no event at all: what has no events is told all the same.
    do {
      const piece = await post("what-if", { on_disk: true, after });
      if (view !== own) return null;
      if (digest !== null && digest !== piece.digest) throw new Refused(409, "The file has changed meanwhile: ask again.");
      if (piece.generation !== range.generation) throw new Refused(409, "Another config is in force by now: ask again.");
      digest = piece.digest;
      add(totals, piece);
      after = piece.next;
      fill(result, h("p.dim", { role: "status" }, `Tried with ${share(totals.events, range.events)} …`));
    } while (after);
    return totals;
  });
  if (whole && view === own) drawTried(result, whole);
  if (whole) own.tried = whole;
}

const CHANGES = [
  ["appears", "appear", "s-good"],
  ["vanishes", "vanish", "s-bad"],
  ["changes", "change", "s-wait"],
  ["moves", "go another way", "s-wait"],
  ["waits", "go out at another time or with others", "s-wait"],
];

function add(totals, piece) {
  for (const name of ["events", "stays", "skipped", "redacted", "not_grouped", ...CHANGES.map(([word]) => word)]) totals[name] += piece[name] ?? 0;
  totals.none.events += piece.no_longer_accepted.events;
  totals.none.examples.push(...piece.no_longer_accepted.examples.slice(0, EXAMPLES - totals.none.examples.length));
  // Every piece is told the same.
  Object.assign(totals, { gone: piece.sources_gone, warnings: piece.warnings });
  for (const { destination, now: before, then } of piece.messages) {
    const [so_far, by_then] = totals.messages.get(destination) ?? [0, 0];
    totals.messages.set(destination, [so_far + before, by_then + then]);
  }
  for (const group of piece.groups) {
    const key = JSON.stringify([group.change, group.rule, group.destination]);
    const known = totals.groups.get(key);
    if (known) known.deliveries += group.deliveries;
    else totals.groups.set(key, { ...group });
  }
}

function drawTried(result, totals) {
  const number = (value, label, kind) => h("div", { class: value ? kind : "none" }, h("b", null, count(value)), h("span", null, label));
  const groups = [...totals.groups.values()].toSorted((one, other) => other.deliveries - one.deliveries);
  const more = totals.not_grouped + groups.slice(EFFECTS).reduce((so_far, group) => so_far + group.deliveries, 0);
  fill(
    result,
    h("h3", null, `Tried with the last ${many(totals.events, "event")} `, h("span.dim", null, totals.skipped > 0 && `${count(totals.skipped)} more cannot be read any more; `, totals.redacted > 0 && `${count(totals.redacted)} more are redacted and cannot be judged; `, "nothing was sent")),
    totals.gone.map((name) => h("p.bad", null, "The source ", h("b.foreign", null, name), " is gone: its events would be refused.")),
    totals.none.events > 0 && h("p.bad", null, `${many(totals.none.events, "event")} would match no rule any more, and go nowhere`, totals.none.examples.map(({ id }, at) => [" · ", h("a", { href: link("events", [id]) }, `example ${at + 1}`)])),
    h("div.numbers", null, CHANGES.map(([word, label, kind]) => number(totals[word], label, kind)), number(totals.stays, "stay as they are", "none")),
    [...totals.messages].map(([name, [before, then]]) => h("p", null, h("b.foreign", null, name), `: ${count(before)} → ${many(then, "message")}`)),
    h("ul.effects", null, groups.slice(0, EFFECTS).map(effect)),
    totals.appears > 0 && !view.found.needs_restart.length && h("p", null, "What would appear is not sent by a reload. ", button("Reload, then route again…", (event) => reload(event.currentTarget, { goesOn: true }))),
    more > 0 && h("p.dim", null, `${many(more, "delivery", "deliveries")} more, in groups that are not shown.`),
    // Where the file is shown with them already, they are not said twice.
    totals.warnings.filter((warning) => !view.found.warnings.includes(warning)).map((warning) => h("pre.foreign", null, warning)),
  );
}

function effect(group) {
  const [, label, kind] = CHANGES.find(([word]) => word === group.change) ?? [null, group.change, "s-dim"];
  const example = group.examples.find(({ now, then }) => now !== undefined && then !== undefined);
  return h(
    "li",
    null,
    h(`span.badge.${kind}`, null, label),
    h("span", null, h("b", null, count(group.deliveries)), " → ", h("b.foreign", null, group.destination), group.rule && h("span.dim", null, " by the rule ", h("span.foreign", null, group.rule))),
    example && h("span.excerpt", null, h("code.foreign.old", null, example.now), h("code.foreign.new", null, example.then)),
    group.change === "moves" && h("span.dim", null, "the same content with another URL, method, header, key, mail server, sender, recipient, file, thread or message that counts"),
    group.not_compared && h("span.dim", null, `not compared: ${group.not_compared}`),
    group.examples[0] && h("a", { href: link("events", [group.examples[0].id]) }, "an example"),
  );
}

function routeAll() {
  routeAgain({ about: "All events of the history that went nowhere when they came. One that went somewhere is replayed from its own page.", commands: nowhere });
}

async function reload(element, { goesOn = false } = {}) {
  const own = view;
  // What would appear is what the events lack that are there already.
  const lack = own.tried?.appears > 0;
  const done = await once(element, () => post("reload"));
  if (done) toast(`Generation ${done.generation} is in force.`, lack && !goesOn ? { label: "Route again…", run: routeAll } : {});
  if (done && goesOn) routeAll();
  if (view !== own) return;
  if (!done) return lookAtFile();
  // What was known of the file was before.
  relay.file = null;
  await Promise.all([load(), lookAtFile(), refresh()]);
}

// ---- the YAML, with what each rule has matched

function drawYaml() {
  const { config, rules_: rules, yaml } = view;
  const places = new Map(rules.rules.filter((rule) => rule.line).map((rule) => [rule.line, rule]));
  const lines = config.text.replace(/\n$/, "").split("\n").map((line, at) => {
    const rule = places.get(at + 1);
    const never = rule && rule.matched === 0 && rule.events > 0;
    return h("li", { class: never ? "never" : "" }, h("code.foreign", null, paint(line)), rule && h("span.times", { title: rule.last_matched_at ?? "" }, never ? "never" : `${count(rule.matched)}×`));
  });
  fill(yaml, h("h2", null, "As it runs ", h("span.dim", null, "names of variables stay, secrets and comments are left out")), h("ol.yaml", { tabindex: "0", "aria-label": "The config" }, lines));
}

/** A line of YAML in colours. Only a picture: what is drawn is the line, sign for sign. */
function paint(line) {
  const key = /^(\s*(?:- )?)(?!- )([^\s:#"'{[][^:#{[]*|"[^"]*"|'[^']*')(:)(?=\s|$)/.exec(line);
  if (!key) return values(line);
  return [key[1], h("span.key", null, key[2]), key[3], values(line.slice(key[0].length))];
}

function values(text) {
  const out = [];
  let at = 0;
  for (const found of text.matchAll(/"(?:[^"\\]|\\.)*"|'[^']*'|\$\{[^}]*\}/g)) {
    out.push(text.slice(at, found.index));
    out.push(h("span", { class: found[0].startsWith("$") ? "variable" : "string" }, found[0]));
    at = found.index + found[0].length;
  }
  out.push(text.slice(at));
  return out;
}

function drawRules() {
  const { rules_: found, rules } = view;
  const most = Math.max(1, ...found.rules.map((rule) => rule.matched));
  fill(
    rules,
    h("h2", null, "Rules ", h("span.dim", null, `${many(found.events, "event")} in ${span(Date.now() - Date.parse(found.since))}`)),
    h(
      "ol.hits",
      null,
      found.rules.map((rule) => {
        const never = rule.matched === 0 && rule.events > 0;
        const isChanged = Date.parse(rule.since) - Date.parse(found.since) > CHANGED_AFTER_MS;
        return h("li", null, h("b.foreign", null, rule.rule), h("span.n", null, count(rule.matched)), h("meter", { min: 0, max: most, value: rule.matched, "aria-label": `${rule.rule}: ${rule.matched}` }), never ? h("span.wait", null, "never matched: is it meant?") : h("span.dim", null, rule.last_matched_at && ["last ", moment(rule.last_matched_at, "ago"), isChanged && ", "], isChanged && ["changed ", moment(rule.since, "ago")]));
      }),
    ),
  );
}

function drawAbout() {
  const { status } = relay;
  if (!status || !view?.config) return;
  const { store } = status;
  const facts = [
    ["Version", status.version],
    ["Up", span(status.uptime_s * 1000)],
    ["Accepts events", status.ready ? "yes" : "no"],
    ["History", many(store.events, "event")],
    ["On disk", `${size(store.journal_bytes)} of ${size(store.history_bytes_max)}`],
    ["Dead letters", [count(sum(status.destinations.map((one) => one.dead_letters))), store.dead_letter_bytes > 0 && `, ${size(store.dead_letter_bytes)} of them outside the history`]],
    ["Free", store.free_bytes === null ? "unknown" : size(store.free_bytes)],
  ];
  fill(view.about, h("h2", null, "The relay"), h("dl.facts.column", null, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
  const known = JSON.stringify(status.sources);
  if (view.sources.known === known) return;
  view.sources.known = known;
  fill(view.sources, h("h2", null, "Sources"), h("ul.sources", null, status.sources.map(source)));
}

function source(one) {
  const act = one.paused ? button("Resume", (event) => resume(event.currentTarget, one.name)) : button("Pause…", () => pause(one.name));
  const waits = `${many(one.held, "event")} ${one.held === 1 ? "waits" : "wait"}`;
  const said = one.paused && [one.state === "held" ? "held since " : "refused since ", moment(one.since, "full"), one.held > 0 && `; ${waits}`];
  return h("li", null, h("b.foreign", null, one.name), act, said && h("span.said.wait", null, said));
}

function pathOf(name, act) {
  return `sources/${encodeURIComponent(name)}/${act}`;
}

/** Asks how first: it stops all deliveries of what comes in there. */
function pause(name) {
  const way = (value, label, text) => h("label.check", null, h("input", { type: "radio", name: "way", value, checked: value === "hold" }), h("span", null, h("b", null, label), h("span.dim", null, ` ${text}`)));
  const ways = h("div", { role: "radiogroup", "aria-label": "What becomes of its events" }, way("hold", "Hold its events", "What comes in is accepted and kept; nothing of it is delivered until the source is resumed."), way("refuse", "Refuse its events", "What comes in is answered with 503; the sender tries again later."));
  ask({
    title: `Pause ${name}?`,
    content: ways,
    label: `Pause ${name}`,
    act: async (id) => {
      const refuse = ways.querySelector(":checked").value === "refuse";
      const done = await post(pathOf(name, "pause"), refuse ? { id, refuse } : { id });
      const text = refuse ? `${name} is refused: its events are answered with 503.` : `${name} is held: its events are kept and not delivered.`;
      toast(text, { about: `source ${name}`, label: "Resume", run: () => resume(document.createElement("button"), name) });
      await refresh();
      return done;
    },
  });
}

async function resume(element, name) {
  if (!(await once(element, (id) => post(pathOf(name, "resume"), { id })))) return;
  toast(`${name} goes on.`, { about: `source ${name}` });
  await refresh();
}
