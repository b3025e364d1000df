// Try it: an event before it happens. What the rules say, and what each destination would get; nothing is sent until somebody says so.

import { Refused, get, onAnswer, post, relay } from "./api.js";
import { button, count, fill, h, icon, many, prose, say, size } from "./dom.js";
import { miss, request, rules } from "./event.js";
import * as json from "./json.js";
import { once } from "./acts.js";
import { draft, go, link, toast, unanswered } from "./parts.js";
import * as slack from "./slack.js";

const TYPING_MS = 250;
/** Destinations that the button names; more are counted. */
const NAMED_MAX = 3;
/** Samples that are there at once; the others are behind one that says how many. */
const FIRST_SAMPLES = ["bounced", "clicked", "opened", "user_created"];

let view = null;

export function open(main) {
  const text = h("textarea", { "aria-label": "The event, as JSON", spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
  const told = h("p.told", { role: "status" });
  const result = h("section.result", { "aria-label": "What would happen", "aria-live": "off" });
  const samples = h("div.chips", { role: "group", "aria-label": "Samples" }, h("span.dim", null, "Samples"));
  const sends = h("p.dim", { id: "sends" });
  const send = button("Send it for real", (event) => sendIt(event.currentTarget), { "aria-describedby": "sends" });
  const source = h("select", { onchange: () => ((draft.source = source.value), look()) });
  const from = h("label.from", { hidden: true }, h("span.dim", null, "As if it came by the source "), source);
  main.append(
    h(
      "div.try",
      null,
      h(
        "section.editor",
        { "aria-label": "The event" },
        h("h1", null, "Try it"),
        h("p.dim", null, "Nothing is sent and nothing is written until you say so."),
        samples,
        text,
        from,
        told,
        h("div.acts.apart", null, button("Tidy", tidy), sends, send),
      ),
      result,
    ),
  );
  view = { text, told, result, samples, send, sends, from, source };
  drawSources();
  text.addEventListener("input", () => {
    draft.text = text.value;
    clearTimeout(view.typing);
    view.typing = setTimeout(look, TYPING_MS);
  });
  begin();
}

export function close() {
  clearTimeout(view.typing);
  view.controller?.abort();
  view = null;
}

export function relayChanged() {
  drawSources();
}
export { relayChanged as relay };

/** By which source it is to have come: to be chosen where there are several. */
function drawSources() {
  const names = (relay.status?.sources ?? []).map(({ name }) => name);
  const chosen = draft.source ?? names[0];
  // Perhaps it is gone, or stands in the file alone: then the relay says so.
  if (names.length && !names.includes(chosen)) names.push(chosen);
  view.from.hidden = names.length < 2;
  const known = names.join("\n");
  if (view.source.known === known) return;
  view.source.known = known;
  fill(view.source, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
}

/** With what stood here before or was handed over by another view, or the first sample. */
async function begin() {
  const own = view;
  if (draft.text !== null) own.text.value = draft.text;
  try {
    const samples = await get("samples");
    if (view !== own) return;
    drawSamples(own.samples, Object.entries(samples));
    if (draft.text === null) own.text.value = tidied(samples.bounced ?? Object.values(samples)[0] ?? "");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 0) onAnswer(() => view === own && begin());
  }
  if (view === own) look();
}

function drawSamples(parent, samples) {
  const isFirst = ([name]) => FIRST_SAMPLES.includes(name);
  const chip = ([name, text]) => h("button.chip", { type: "button", onclick: () => put(tidied(text)) }, name);
  const rest = samples.filter((sample) => !isFirst(sample));
  const more = h("button.chip", { type: "button", onclick: () => more.replaceWith(...rest.map(chip)) }, `${count(rest.length)} more`);
  parent.append(...samples.filter(isFirst).map(chip), ...(rest.length ? [more] : []));
}

function put(text) {
  view.text.value = draft.text = text;
  look();
}

function tidied(text) {
  return json.tidy(json.read(text));
}

function tidy() {
  try {
    put(tidied(view.text.value));
  } catch (error) {
    toast(error.message);
  }
}

async function look() {
  const own = view;
  own.controller?.abort();
  own.controller = new AbortController();
  const event = own.text.value;
  try {
    const explained = await post("explain", { event, source: draft.source ?? undefined, on_disk: draft.onDisk }, own.controller.signal);
    if (view === own) draw(explained, new TextEncoder().encode(event).length);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if (view === own) refused(error);
  }
}

function refused(error) {
  if (error.status === 0) {
    fill(view.told);
    fill(view.result, unanswered(error, look));
    return;
  }
  const isConfig = error.status === 409;
  const isEvent = error.status === 422;
  if (isConfig) fill(view.told);
  else fill(view.told, icon("no"), h("span.bad", null, prose(error.message)));
  view.send.disabled = !isConfig;
  drawSends([]);
  fill(
    view.result,
    h("div.verdict", null, h("h2", null, isEvent ? "Refused" : "Not known"), choice()),
    isConfig && h("div.note.s-bad", null, h("p", null, "The file as it stands is not good:"), h("pre", null, error.message)),
    isEvent && h("p.dim", null, "Such a request would be refused with 400; the sender hears the sentence beside it."),
  );
}

/** What the button does, before it is pressed: by the rules in force, whichever it was tried by. */
function drawSends(names) {
  const where = draft.onDisk ? "goes where the rules in force say" : names.length ? `goes to ${names.length > NAMED_MAX ? many(names.length, "destination") : names.join(", ")}` : "goes nowhere";
  say(view.sends, view.send.disabled ? "" : `It is accepted as from a sender, and ${where}.`);
}

function choice() {
  const one = (onDisk, label) => h("button", { type: "button", "aria-pressed": String(draft.onDisk === onDisk), onclick: () => ((draft.onDisk = onDisk), look()) }, label);
  return h("div.segments.choice", { role: "group", "aria-label": "By which rules" }, one(false, "The rules in force"), one(true, "The file as it stands"));
}

function draw(explained, length) {
  view.send.disabled = false;
  fill(view.told, h("span.good", null, icon("yes")), h("span", null, `${explained.type}, ${size(length)}`));
  const { deliveries, nearest } = explained;
  drawSends(deliveries.map(({ destination }) => destination));
  const matching = explained.rules.filter((rule) => rule.matches).length;
  const names = deliveries.map(({ destination }, at) => [at > 0 && ", ", h("a.foreign", { href: link("destinations", [destination]) }, destination)]);
  fill(
    view.result,
    h("div.verdict", null, h("div", null, h("h2", null, deliveries.length ? ["Goes to ", names] : "Goes nowhere"), h("p.dim", null, `${matching} of ${many(explained.rules.length, "rule")} ${matching === 1 ? "matches" : "match"}`)), choice()),
    !deliveries.length && nearest?.length > 0 && h("div.note.s-wait", null, "Nearest: ", miss(nearest[0])),
    h("section", null, h("h2", null, "Rules"), rules(explained)),
    deliveries.length > 0 && h("section", null, h("h2", null, "What each would get"), deliveries.map(box)),
  );
}

function box(delivery) {
  const drawn = delivery.kind === "slack" && delivery.sends ? slack.message(delivery.sends.body, new Date().toISOString()) : null;
  const title = drawn || !delivery.sends ? null : (delivery.sends.title ?? null);
  return h("div.delivery", null, h("header", null, h("b.foreign", null, delivery.destination), h("span.dim", null, delivery.kind), h("span.end", null, "by ", h("b.foreign", null, delivery.rules.join(", ")))), drawn, request(delivery, { of: delivery.destination, title }));
}

async function sendIt(element) {
  const own = view;
  const done = await once(element, () => post("send", { event: own.text.value, source: draft.source ?? undefined }));
  if (!done) return;
  if (view === own) say(own.told, "Accepted.");
  toast("It was accepted.", { label: "See it", run: () => go(link("events", [done.id])) });
}

