// One event in full: where it went and what each destination answered, why, and what it says.

import { Refused, bytes, get, post, relay } from "./api.js";
import { button, copy, count, fill, h, icon, many, moment, plain, size } from "./dom.js";
import * as json from "./json.js";
import { quoted, search } from "./asked.js";
import { ask, menu, sent } from "./acts.js";
import { announce, badge, draft, empty, go, link, place, stuckFirst, title, toast, unanswered } from "./parts.js";
import * as slack from "./slack.js";

/** A larger body is not drawn as a tree. */
const TREE_BYTES_MAX = 1 << 20;
/** What stands for an address where the config says `show: no_addresses`. */
const MASK = "…@…";
/** What becomes of several deliveries at once is asked for together. */
const GATHER_MS = 150;
/** What the relay has not answered is asked for again so much later. */
const AGAIN_AFTER_MS = 2000;

let view = null;
/** The event that others are compared with. */
let marked = null;

export async function open(aside, id, { back, isPhone }) {
  const own = { aside, id, back, event: null, bytes: null, why: null };
  view = own;
  if (!aside.firstChild || aside.shown !== id) fill(aside, h("p.dim", null, "…"));
  aside.shown = id;
  try {
    const [event, body] = await Promise.all([get(`events/${id}`), bytes(`events/${id}/body`).catch(noneIfGone)]);
    if (view !== own) return;
    const isErased = body === null || event.erased === true;
    Object.assign(own, { event, bytes: body, isErased, isMasked: !isErased && isMasked(event, body), isRedacted: event.redacted === true });
  } catch (error) {
    if (view === own) missing(own, error);
    return;
  }
  draw(own);
  if (own.hasChanged) askAnew(own);
  // A title stays in the browser's history: whom it is about is not told there.
  title(plain(own.event.type || "–"), plain(own.event.campaign ?? ""));
  if (isPhone) aside.querySelector("h1").focus();
  if (!own.isErased) await explain(own);
}

/** The body of an event that was erased: what became of it is shown all the same. */
function noneIfGone(error) {
  if (error instanceof Refused && error.status === 410) return null;
  throw error;
}

/** Whether what is shown is not what came: an address may be as long as what stands for it. */
function isMasked(event, body) {
  return body.length !== event.bytes || new TextDecoder().decode(body).includes(MASK);
}

function missing({ aside, id, back }, error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 0) return void fill(aside, unanswered(error, () => open(aside, id, { back, isPhone: false })));
  const gone = error.status === 404;
  const text = gone ? "The history holds no event with this id: it is older than what is kept, or the id is another relay's. Its dead letters stay until they are replayed or dropped." : error.message;
  fill(aside, empty(gone ? "Not in the history" : "It cannot be shown", text, button("To the list", back)));
}

export function close() {
  view = null;
}

/** Something has become of it: what is shown is asked for again. */
export function frame(kind, data) {
  if (kind !== "deliveries" || data.id !== view?.id) return;
  if (view.event) askAnew(view);
  // What is on its way may be older.
  else view.hasChanged = true;
}

function askAnew(own, afterMs = GATHER_MS) {
  clearTimeout(own.again);
  own.again = setTimeout(async () => {
    if (view !== own) return;
    try {
      const event = await get(`events/${own.id}`);
      if (view !== own) return;
      own.event = event;
      drawWent(own);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.mayPass) askAnew(own, AGAIN_AFTER_MS);
    }
  }, afterMs);
}

export function key(name) {
  if (!view?.event) return;
  if (name === "r" && offersReplay(view)) replay(view);
  if (name === "y") copied(view.id, "The id");
  if (name === "m" && !view.isErased) mark(view);
}

/** What is not as it came goes out to nobody. */
function offersReplay({ isErased, isRedacted }) {
  return !isErased && !isRedacted;
}

// ---- the whole

function draw(own) {
  const { aside, event, id } = own;
  own.went = h("section");
  own.reasons = h("section");
  own.says = h("section");
  own.compared = h("section");
  fill(
    aside,
    h(
      "header",
      null,
      h(
        "div.head",
        null,
        button("", own.back, { kind: "quiet square back", sign: "back", "aria-label": "To the list" }),
        h("h1.foreign", { tabindex: "-1" }, own.isErased ? "Erased" : event.type || "–", event.campaign && h("span.more.foreign", null, event.campaign)),
      ),
      h("p.dim", null, event.who && [h("span.foreign", null, event.who), " · "], moment(event.received_at, "full"), " · ", moment(event.received_at, "ago"), " · from ", h("b.foreign", null, event.source)),
      h("p.id", null, h("code", null, id), button("", () => copied(id, "The id"), { kind: "quiet square small", sign: "copy", "aria-label": "Copy the id" })),
      h(
        "div.acts",
        null,
        offersReplay(own) && button("Replay…", () => replay(own), { kind: "first", sign: "again", "aria-keyshortcuts": "r" }),
        // What is masked would be sent as another event.
        !own.isMasked && offersReplay(own) && [button("Copy as curl", () => copied(curl(own), "The command")), button("Open in Try it", () => tryIt(own))],
        !own.isErased && button(marked?.id === id ? "Marked" : "Mark to compare", () => mark(own), { "aria-keyshortcuts": "m" }),
      ),
    ),
    own.went,
    own.compared,
    own.reasons,
    own.says,
  );
  drawWent(own);
  drawBody(own, "tree");
  drawCompared(own);
}

async function copied(text, what) {
  const done = await copy(text);
  if (done) toast(`${what} is on the clipboard.`);
  else toast("The browser does not allow to copy.");
}

// ---- where it went

function drawWent(own) {
  const { event } = own;
  const deliveries = stuckFirst(event.deliveries);
  const unfolded = new Set([...own.went.querySelectorAll("details[open]")].map((details) => details.dataset.of));
  const boxes = deliveries.map((delivery) => box(own, delivery, unfolded));
  fill(own.went, h("h2", null, "Where it went ", deliveries.length > 0 && h("span.dim", null, many(deliveries.length, "destination"))), deliveries.length ? boxes : nowhere(own));
}

function nowhere(own) {
  const held = own.why?.rules.find((rule) => rule.matches === false && rule.unless);
  if (held) return h("div.note.s-wait", null, h("p", null, h("b", null, "Held back by ", h("span.foreign", null, held.rule), "."), " ", h("span.foreign", null, held.unless), ". It is kept in the history and was delivered nowhere."));
  const nearest = own.why?.nearest?.[0];
  return h("div.note.s-wait", null, h("p", null, h("b", null, "No rule wanted this event."), " It is kept in the history and was delivered nowhere."), nearest && h("p", null, "Nearest: ", miss(nearest)));
}

function box(own, delivery, unfolded) {
  const kind = relay.status?.destinations.find((known) => known.name === delivery.destination)?.kind;
  const at = delivery.at ?? delivery.attempted?.at(-1)?.at;
  const made = h(
    "div.delivery",
    null,
    h(
      "header",
      null,
      badge(delivery.state),
      h("a.foreign", { href: link("destinations", [delivery.destination]) }, delivery.destination),
      kind && h("span.dim", null, kind),
      h("span.end", null, at && [moment(at), " · "], "by ", h("b.foreign", null, delivery.rule ?? "a replay")),
    ),
    waits(delivery, own.event.source),
    attempts(delivery),
  );
  const sends = own.why?.deliveries?.find((explained) => explained.destination === delivery.destination);
  const drawn = sends?.sends && kind === "slack" ? slack.message(sends.sends.body, at ?? own.event.received_at) : null;
  if (drawn) made.append(drawn);
  const title = own.isMasked ? "The request, with addresses masked" : null;
  if (sends) made.append(request(sends, { of: delivery.destination, open: unfolded.has(delivery.destination), title }));
  return made;
}

const WAITS = {
  due: "its next attempt is due",
  breaker: "the destination fails, and one attempt at a time is made until one succeeds",
  pause: "the destination is paused",
  retry_after: "the destination said when it may be tried again",
};

function waits(delivery, source) {
  if (delivery.held?.by === "order") return h("p.dim", null, "Waits for an earlier delivery of its order key", delivery.held.earlier && [": ", h("a", { href: link("events", [delivery.held.earlier]) }, delivery.held.earlier)], ".");
  if (delivery.state === "held") return h("p.dim", null, "Held: the source ", h("b.foreign", null, source), " is paused. It goes out when that is resumed, on the page ", h("a", { href: link("config") }, "Config"), ".");
  if (!delivery.waits_for && !delivery.reason) return null;
  const why = WAITS[delivery.waits_for];
  if (!why) return null;
  return h("p.dim", null, `Waits: ${why}. `);
}

/** The attempts that are kept, those before a replay too, and what followed. */
function attempts(delivery) {
  const { state, at, reason, attempted: made = [] } = delivery;
  const rows = made.map(attempt);
  const before = beforeReplay(delivery, made);
  if (before > 0) rows.splice(before, 0, h("li.again", null, h("span.dim", null, "sent again by a replay")));
  // Of an attempt that succeeds at once nothing is kept but that it did.
  if (before === made.length && before > 0 && state === "delivered") rows.push(h("li.good", null, at && moment(at), h("b.good", null, "delivered")));
  if (state === "dead") rows.push(h("li", null, at && moment(at), h("b.bad", null, "given up"), h("span.dim", null, made.length ? "it stands among the dead letters" : (reason ?? ""))));
  if (delivery.next_attempt_at && delivery.waits_for === "due") rows.push(h("li.next", null, moment(delivery.next_attempt_at), h("span.dim", null, "next attempt, ", moment(delivery.next_attempt_at, "until"))));
  return rows.length > 0 && h("ol.attempts", null, rows);
}

function attempt({ at, outcome, reason, status, took_ms: took, answer }) {
  const isGood = outcome === "delivered";
  return h("li", { class: isGood ? "good" : "" }, moment(at), h("b", { class: isGood ? "good" : "bad" }, reason || (isGood ? `${status ?? "delivered"}` : outcome)), h("span.dim", null, `${count(took)} ms`), answer && h("code.answer.foreign", null, answer));
}

/** How many of the attempts that are kept were made before a replay sent it out again: those that it made are counted anew. */
function beforeReplay({ state, attempts: own }, made) {
  // A destination that was paused by an attempt hands it back uncounted.
  const counted = made.filter(({ outcome }) => outcome !== "pause");
  const last = counted.at(-1);
  let since = own ?? counted.length;
  if (state === "delivered" && own === 1) since = last?.outcome === "delivered" && last.reason ? 1 : 0;
  // How often it was tried is told only of what has an outcome: what waits behind one was sent out again.
  else if (!own && ["held", "waiting", "in_flight"].includes(state)) since = counted.length - 1 - counted.findLastIndex(({ outcome }) => outcome === "reject" || outcome === "delivered");
  else if (!own) since = counted.length;
  return made.indexOf(counted[counted.length - since - 1]) + 1;
}

/** What is sent, unfolded by whoever wants to see it. */
export function request(explained, { of = "", open = false, title = null } = {}) {
  const { sends, error, skipped } = explained;
  if (!sends) return h("p", { class: error ? "bad" : "dim" }, error ? `It cannot be sent: ${error}` : `Nothing is sent: ${skipped ?? "the message is empty"}`);
  const content = sends.body ?? sends.line ?? sends.message ?? "";
  const facts = Object.entries(sends).filter(([name, value]) => typeof value === "string" && !["method", "url", "title", "body", "line", "message", "content"].includes(name));
  const headers = Object.entries(sends.headers ?? {});
  const first = sends.method ? `${sends.method} ${sends.url}` : (sends.title ?? sends.path ?? "");
  return h(
    "details",
    { "data-of": of, open },
    h("summary", null, title ?? (sends.line !== undefined ? "The line it gets" : "The exact request")),
    h(
      "div.request",
      null,
      h("pre.foreign", null, h("b", null, first), "\n", [...facts, ...headers].map(([name, value]) => [h("span.header", null, `${name}: `), `${value}\n`]), "\n", readable(content)),
    ),
  );
}

function readable(content) {
  try {
    return json.tidy(json.read(content));
  } catch {
    return content;
  }
}

// ---- why

async function explain(own) {
  try {
    own.why = await get(`events/${own.id}/explain`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (view === own) fill(own.reasons, h("h2", null, "Why"), h("p.dim", null, error.message));
    return;
  }
  if (view !== own) return;
  const { then } = own.why;
  const now = own.why.rules.filter((rule) => rule.matches).map((rule) => rule.rule);
  const hasChanged = then && then.rules.join("\n") !== now.join("\n");
  fill(
    own.reasons,
    h("h2", null, "Why ", h("span.dim", null, "by the rules in force now"), hasChanged && !own.isRedacted && [" ", h("span.tag", null, "the rules have changed since")]),
    hasChanged && h("p.note", null, then.rules.length ? ["When it came, ", h("b", null, then.rules.join(", ")), " matched."] : "When it came, no rule matched."),
    rules(own.why),
    hasChanged && then.trace && [h("h2", null, "Why ", h("span.dim", null, "by the rules of when it came")), rules({ rules: then.trace })],
  );
  drawWent(own);
}

/** Every rule with its verdict, and what it asked for. */
export function rules(explained) {
  return h("ol.rules", null, explained.rules.map((rule) => verdict(rule, explained.nearest ?? [])));
}

function verdict(rule, nearest) {
  const near = nearest.find((miss) => miss.rule === rule.rule);
  const [kind, sign, word] = rule.matches === null ? ["untried", "none", "not tried"] : rule.matches ? ["yes", "yes", "matches"] : ["no", "none", "does not match"];
  const because = rule.matches === null ? "an earlier rule has stop" : rule.matches ? (rule.unless ? `matches unless ${rule.unless}` : "matches") : near ? `nearest miss: ${rule.because}` : rule.because;
  const head = [icon(sign, word), h("b.foreign", null, rule.rule), rule.stop && h("span.tag", null, "stop"), h("span.because.foreign", { class: near ? "near" : "" }, because, near && meant(near))];
  if (!rule.conditions.length) return h(`li.${kind}`, null, h("div.flat", null, head));
  const conditions = rule.conditions.map((condition) => {
    const deep = Math.min(condition.depth, 3);
    const holds = condition.holds;
    const parts = condition.group
      ? [h("b", null, condition.group)]
      : [h("b.foreign", null, condition.field), "expected", h("code.foreign", null, condition.expected), "got", h("code.foreign", { class: holds ? "" : "bad" }, condition.got.length ? values(condition) : "nothing")];
    return h("li", { class: `${holds ? "yes" : "no"} deep-${deep}` }, icon(holds ? "yes" : "no", holds ? "holds" : "does not hold"), parts);
  });
  return h(`li.${kind}`, null, h("details", { open: Boolean(near) && nearest[0] === near }, h("summary", null, head), h("ul.conditions", null, conditions)));
}

/** What an event has where a condition looks. */
export function values({ got }) {
  return got.map(({ value }) => value).join(", ");
}

/** How a rule was missed, in a sentence. */
export function miss(near) {
  const each = near.failed.map((failed, at) => [
    at > 0 && " and ",
    h("code.foreign", null, failed.field),
    ": expected ",
    h("code.foreign", null, failed.expected),
    failed.got.length ? [", got ", h("code.foreign", null, values(failed))] : ", and the event has none",
  ]);
  return [h("b.foreign", null, near.rule), near.failed.length === 1 ? " failed only on " : " failed on ", each, ".", meant(near)];
}

/** What whoever wrote the rule may have meant. */
export function meant(near) {
  const failed = near.failed.find(({ meant: found }) => found);
  if (!failed) return null;
  const [what, word] = failed.meant.field ? ["the field ", failed.meant.field] : ["", failed.meant.value];
  return h("span.wait", null, ` Did the rule mean ${what}`, h("code.foreign", null, word), "?");
}

// ---- what it says

const SHOWN = [
  ["tree", "Tree"],
  ["tidy", "Formatted"],
  ["raw", "As it came"],
];
/** Of what is masked or redacted, no form is as it came. */
const SHOWN_MASKED = SHOWN.with(2, ["raw", "As text"]);

function drawBody(own, how) {
  if (own.isErased) return void fill(own.says, h("h2", null, "The event"), h("p.dim", null, "It was erased: what it said is gone, and it goes out to nobody any more."));
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(own.bytes);
  let node = null;
  let why = null;
  try {
    if (own.bytes.length > TREE_BYTES_MAX) throw new SyntaxError(`more than ${size(TREE_BYTES_MAX)} are shown as they came`);
    node = json.read(text);
  } catch (error) {
    why = error.message;
  }
  const wanted = node ? how : "raw";
  const choices = (own.isMasked || own.isRedacted ? SHOWN_MASKED : SHOWN).map(([name, label]) => h("button", { type: "button", "aria-pressed": String(name === wanted), disabled: !node && name !== "raw", onclick: () => drawBody(own, name) }, label));
  const shown = wanted === "tree" ? json.tree(node, chosen) : h("pre.raw.foreign", { tabindex: "0" }, wanted === "tidy" ? json.tidy(node) : text);
  fill(
    own.says,
    h(
      "div.titled",
      null,
      h("h2", null, "The event ", h("span.dim", null, size(own.event.bytes))),
      h("div.segments", { role: "group", "aria-label": "How it is shown" }, choices),
      button("", () => copied(text, own.isMasked ? "The event, with addresses masked," : "The event"), { kind: "quiet square", sign: "copy", "aria-label": own.isMasked ? "Copy the event, with addresses masked" : "Copy the event" }),
    ),
    own.isMasked && h("p.dim", null, "Addresses are masked here, as the config says ", h("code", null, "show: no_addresses"), ": this is not the event as it came, so it is not offered to be sent or tried.", !own.isRedacted && " A replay sends what came."),
    own.isRedacted && h("p.dim", null, "Values of this event were taken away, as ", h("code", null, "store.history.redact"), " says. It goes out to nobody any more, and what the rules and destinations would make of it is said of what is left."),
    why && h("p.dim", null, `No tree: ${why}.`),
    shown,
  );
}

/** What can be done with a value of the tree. */
function chosen(path, node, at) {
  const name = json.pathText(path);
  const value = node.kind === "string" ? safely(node.source) : node.source;
  const condition = `${/^[\w.-]+$/.test(name) ? name : JSON.stringify(name)}: ${node.source}`;
  const template = `{{ ${path.map((step, i) => (i === 0 ? step : `.${step}`)).join("").replaceAll("-", "_")} }}`;
  const only = { type: "type", "campaign.name": "campaign", "user.email": "who" }[name];
  const query = only ? search(only, value) : quoted(value);
  const offers = [
    ["Only events like this", plain(query).slice(0, 60), () => go(link("events", place().rest, { q: query }))],
    ["Copy as a condition", condition.slice(0, 60), () => copied(condition, "The condition")],
    ["Copy for a template", template, () => copied(template, "The template")],
    ["Copy the value", "", () => copied(value, "The value")],
  ];
  // No event has what stands for an address.
  menu(at, view.isMasked && value.includes(MASK) ? [offers[2]] : offers);
}

function safely(source) {
  try {
    return json.meaning(source);
  } catch {
    return source;
  }
}

// ---- acts

/** A command that sends the same event again, with places for the relay's address and its token. */
function curl(own) {
  const text = new TextDecoder().decode(own.bytes).replace(/\n$/, "");
  const quoted = `'${text.replaceAll("'", `'\\''`)}'`;
  return `curl -X POST "$RELAY/hooks/${own.event.source}/$TOKEN" -H 'content-type: application/json' --data-binary ${quoted}`;
}

function tryIt(own) {
  Object.assign(draft, { text: new TextDecoder().decode(own.bytes), source: own.event.source });
  go(link("try"));
}

/** Asks where it is to be sent again. */
function replay(own) {
  const known = new Map(own.event.deliveries.map((delivery) => [delivery.destination, delivery]));
  const routed = new Set((own.why?.deliveries ?? []).map((delivery) => delivery.destination));
  const all = (relay.status?.destinations ?? []).filter((destination) => destination.state !== "removed");
  const boxes = all.map((destination) => {
    const delivery = known.get(destination.name);
    const has = delivery?.state === "delivered";
    // A rule that was mended since sends it where it has not been.
    const isMissed = !delivery && routed.has(destination.name);
    const said = isMissed ? "was not sent there, and by the rules in force now it goes there" : !delivery ? "was not sent there" : has ? "has it already" : delivery.state === "dead" ? "gave it up" : delivery.state === "scheduled" ? "is to be tried again anyway" : delivery.state.replace("_", " ");
    const input = h("input", { type: "checkbox", value: destination.name, checked: isMissed || (Boolean(delivery) && !has) });
    return { input, row: h("label.check", null, input, h("b.foreign", null, destination.name), h("span.dim", null, said)) };
  });
  const chosenNames = () => boxes.filter(({ input }) => input.checked).map(({ input }) => input.value);
  const { go: send, dialog } = ask({
    title: "Replay this event",
    content: [h("fieldset", null, h("legend.offscreen", null, "Where to"), boxes.map(({ row }) => row)), h("p.dim", null, "It goes out as it is kept, with the same webhook-id: whoever has it already can tell.")],
    label: "Replay",
    act: async (id) => {
      const done = await post("replays", { id, events: [own.id], to: chosenNames() });
      sent(chosenNames(), "It is on its way.", { label: "See it", run: () => go(link("events", [own.id])) });
      frame("deliveries", { id: own.id });
      return done;
    },
  });
  const name = () => {
    const number = chosenNames().length;
    fill(send, `Replay to ${many(number, "destination")}`);
    send.disabled = number === 0;
  };
  dialog.addEventListener("change", name);
  name();
}

// ---- compared with another

function mark(own) {
  marked = marked?.id === own.id ? null : { id: own.id, bytes: own.bytes, event: own.event, isMasked: own.isMasked };
  announce(marked ? "Marked: open another event to compare." : "Marked no more.");
  draw(own);
  explain(own);
}

function drawCompared(own) {
  if (!marked || marked.id === own.id || own.isErased) return;
  const decode = (from) => json.read(new TextDecoder().decode(from));
  let rows;
  try {
    rows = json.differences(decode(own.bytes), decode(marked.bytes));
  } catch {
    return;
  }
  const table = h(
    "table",
    null,
    h("thead", null, h("tr", null, ["Field", "Here", "There"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, rows.map(([path, here, there]) => h("tr", null, h("td", null, h("code.foreign", null, path)), h("td", null, here === null ? h("span.dim", null, "–") : h("code.foreign.new", null, here)), h("td", null, there === null ? h("span.dim", null, "–") : h("code.foreign.old", null, there))))),
  );
  fill(
    own.compared,
    h("h2", null, "Compared with ", h("a", { href: link("events", [marked.id]) }, `${marked.event.type} of ${marked.event.received_at.slice(11, 19)}`), " ", h("span.dim", null, many(rows.length, "difference"))),
    rows.length ? h("div.tablebox", null, table) : h("p.dim", null, "They say the same."),
    (own.isMasked || marked.isMasked) && h("p.dim", null, "Addresses are masked, and not compared."),
    h("p.after", null, button("Compare no more", () => ((marked = null), fill(own.compared)))),
  );
}


