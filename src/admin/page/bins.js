// Bins: what came in where a destination is a bin of the relay's own. The message first, drawn as a chat would draw it; then the request.

import { Refused, bin } from "./api.js";
import { count, fill, h, many, moment } from "./dom.js";
import * as json from "./json.js";
import { empty, link, unanswered } from "./parts.js";
import * as slack from "./slack.js";

/** Where much comes in, it is asked for this often. */
const LOAD_EVERY_MS = 300;

let view = null;

export function open(main) {
  const head = h("header.pagehead");
  const body = h("div.bin");
  main.append(h("div.wide", null, head, body));
  view = { head, body, name: null, known: null };
}

export function close() {
  clearTimeout(view?.soon);
  view = null;
}

export function go({ rest }) {
  const name = rest[0] ?? null;
  if (view.name !== name) Object.assign(view, { known: null });
  view.name = name;
  load();
}

/** Something has been delivered, perhaps here. */
export function frame(kind) {
  if (kind !== "deliveries" && kind !== "event" && kind !== "reset") return;
  const own = view;
  own.soon ??= setTimeout(() => {
    own.soon = null;
    if (view === own) load();
  }, LOAD_EVERY_MS);
}

export function relay() {
  load();
}

async function load() {
  const own = view;
  const { name } = own;
  try {
    const found = await bin(name);
    if (view === own && own.name === name) draw(found);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (view !== own || own.name !== name || own.known) return;
    if (error.status === 404) draw({ bin: name, received: 0, entries: [] });
    else fill(own.body, unanswered(error, load));
  }
}

function draw(found) {
  const known = JSON.stringify(found);
  if (view.known === known) return;
  view.known = known;
  if (found.bins) return drawAll(found.bins);
  const { entries } = found;
  fill(view.head, h("div", null, h("h1.foreign", null, found.bin), h("p.dim", null, `A bin: ${kept(entries.length, found.received)} It is gone when the relay stops. `, h("a", { href: link("bins") }, "All bins"))));
  if (!entries.length) return fill(view.body, empty("Nothing has come into this bin yet", "What a destination delivers to this address is shown here as it comes."));
  const unfolded = new Set([...view.body.querySelectorAll("details[open]")].map((details) => details.dataset.of));
  fill(view.body, entries.map((entry, at) => drawn(entry, `${entry.at} ${found.received - at}`, unfolded)));
}

function kept(number, received) {
  if (number === received) return `${many(received, "message")} came in.`;
  return `the newest ${count(number)} of ${many(received, "message")} are shown; a bin lets go of what is older.`;
}

function drawAll(bins) {
  fill(view.head, h("div", null, h("h1", null, "Bins"), h("p.dim", null, "Places to deliver to that need no account: what comes in is kept in memory and shown.")));
  const names = Object.keys(bins);
  if (!names.length) return fill(view.body, empty("No bin has anything in it", "A destination whose URL is this relay's /bin/NAME fills one."));
  const rows = names.map((name) => h("tr", null, h("td", null, h("a.foreign", { href: link("bins", [name]) }, name)), h("td", null, many(bins[name], "message"))));
  fill(view.body, h("div.tablebox", null, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Bin"), h("th", { scope: "col" }, "Came in"))), h("tbody", null, rows))));
}

/** One request: what it says to people, and how it came. */
function drawn(entry, of, unfolded) {
  const made = h("section.delivery", { "aria-label": `${entry.method} at ${entry.at}` }, h("header", null, moment(entry.at, "full"), h("span.dim", null, moment(entry.at, "ago")), h("span.end", null, h("code.foreign", null, `${entry.method} ${entry.path}`))));
  const message = isMessage(entry.json) ? slack.message(entry.body, entry.at) : null;
  made.append(message ?? content(entry));
  const headers = Object.entries(entry.headers).map(([name, value]) => `${name}: ${value}`);
  made.append(
    h(
      "details",
      { "data-of": of, open: unfolded.has(of) },
      h("summary", null, "The request"),
      h("pre.raw.foreign", { tabindex: "0" }, `${entry.method} ${entry.path}\n${headers.join("\n")}`),
      message && content(entry),
    ),
  );
  return made;
}

function isMessage(value) {
  return value !== null && typeof value === "object" && (typeof value.text === "string" || Array.isArray(value.blocks) || Array.isArray(value.attachments));
}

/** The body: JSON with its digits as they came, and anything else as a text. */
function content(entry) {
  let text = entry.body;
  try {
    if (!entry.left_out && text) text = json.tidy(json.read(text));
  } catch {
    // No JSON.
  }
  return h("div", null, h("pre.raw.foreign", { tabindex: "0" }, text || "(no body)"), entry.left_out && h("p.dim", null, entry.left_out));
}
