// Try it: an event before it happens. What the rules say, and what each destination would get; nothing is sent until somebody says so.

import { Refused, get, post } from "./api.js";
import { button, fill, h, icon, many, prose, say, size } from "./dom.js";
import { miss, request, rules } from "./event.js";
import * as json from "./json.js";
import { go, link, once, toast } from "./parts.js";
import * as slack from "./slack.js";

const TYPING_MS = 250;
const KEPT = "try";

let view = null;

export function open(main) {
  const text = h("textarea", { "aria-label": "The event, as JSON", spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
  const told = h("p.told", { role: "status" });
  const result = h("section.result", { "aria-label": "What would happen", "aria-live": "off" });
  const samples = h("div.chips", { role: "group", "aria-label": "Samples" }, h("span.dim", null, "Samples"));
  const send = button("Send it for real", (event) => sendIt(event.currentTarget));
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
        told,
        h("div.acts.apart", null, button("Tidy", tidy), send),
      ),
      result,
    ),
  );
  view = { text, told, result, samples, send, onDisk: false, asked: 0 };
  text.addEventListener("input", () => {
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

/** With what was handed over by another view, or the first sample. */
async function begin() {
  const own = view;
  let handed = null;
  try {
    handed = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
  } catch {
    // Forbidden: then there is nothing.
  }
  if (handed !== null) own.text.value = handed;
  try {
    const samples = await get("samples");
    if (view !== own) return;
    for (const [name, text] of Object.entries(samples)) own.samples.append(h("button.chip", { type: "button", onclick: () => put(tidied(text)) }, name));
    if (handed === null) own.text.value = tidied(samples.bounced ?? Object.values(samples)[0] ?? "");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
  if (view === own) look();
}

function put(text) {
  view.text.value = text;
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
    const explained = await post("explain", { event, on_disk: own.onDisk }, own.controller.signal);
    if (view === own) draw(explained, new TextEncoder().encode(event).length);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if (view === own) refused(error);
  }
}

function refused(error) {
  const isConfig = error.status === 409;
  if (isConfig) fill(view.told);
  else fill(view.told, icon("no"), h("span.bad", null, prose(error.message)));
  view.send.disabled = !isConfig;
  fill(view.result, h("div.verdict", null, h("h2", null, isConfig ? "Not known" : "Refused"), choice()), isConfig ? h("div.note.s-bad", null, h("p", null, "The file as it stands is not good:"), h("pre", null, error.message)) : h("p.dim", null, "Such a request would be refused with 400; the sender hears the sentence on the left."));
}

function choice() {
  const one = (onDisk, label) => h("button", { type: "button", "aria-pressed": String(view.onDisk === onDisk), onclick: () => ((view.onDisk = onDisk), look()) }, label);
  return h("div.segments.choice", { role: "group", "aria-label": "By which rules" }, one(false, "The rules in force"), one(true, "The file as it stands"));
}

function draw(explained, length) {
  view.send.disabled = false;
  fill(view.told, h("span.good", null, icon("yes")), h("span", null, `${explained.type}, ${size(length)}`));
  const { deliveries, nearest } = explained;
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
  const done = await once(element, () => post("send", { event: own.text.value }));
  if (!done) return;
  if (view === own) say(own.told, "Accepted.");
  toast("It was accepted.", { label: "See it", run: () => go(link("events", [done.id])) });
}

