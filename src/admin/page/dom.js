// Elements, text and time. Whatever comes from outside becomes a text node here, and nothing else anywhere.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: h("li.row.dim", {id, onclick, hidden}, "text", child, [more], null). A property that is null or false is left out. */
export function h(spec, props, ...kids) {
  const [tag, ...classes] = spec.split(".");
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) made.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(props ?? {})) set(made, name, value);
  add(made, kids);
  return made;
}

const SVG_TAGS = new Set(["svg", "use", "rect", "path", "line", "g", "circle"]);
/** Of an input, what is typed and ticked lives in properties, not in attributes. */
const PROPERTIES = new Set(["value", "checked", "indeterminate", "open", "disabled", "hidden", "selected"]);

function set(made, name, value) {
  if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
  else if (PROPERTIES.has(name)) made[name] = value;
  else if (name === "class") made.classList.add(...value.split(" ").filter(Boolean));
  else if (value === true) made.setAttribute(name, "");
  else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, String(value));
}

function add(parent, kids) {
  for (const kid of kids.flat(Infinity)) {
    if (kid === null || kid === undefined || kid === false) continue;
    parent.append(kid instanceof Node ? kid : document.createTextNode(plain(String(kid))));
  }
}

/** Puts other children in the place of those that are there. */
export function fill(parent, ...kids) {
  parent.replaceChildren();
  add(parent, kids);
  return parent;
}

/** Says something new in an element, and leaves it alone where it says that already. */
export function say(element, text) {
  const shown = plain(String(text));
  if (element.textContent !== shown) element.textContent = shown;
}

/**
 * Has a parent hold one child for each item, in order. A child stays the same element for as long as its item has the same key, so
 * focus, selection and what is unfolded stay too.
 */
export function keyed(parent, items, key, make, update) {
  const known = parent.keyed ?? new Map();
  const now = new Map();
  let at = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    let child = known.get(id);
    if (!child) child = make(item);
    if (update) update(child, item);
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
    now.set(id, child);
  }
  for (const [id, child] of known) if (now.get(id) !== child) child.remove();
  parent.keyed = now;
}

/** A sign from the sheet in index.html. What it says stands beside it, or in `label`. */
export function icon(name, label) {
  const drawn = h("svg.icon", label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }, h("use", { href: `#i-${name}` }));
  drawn.classList.add(`i-${name}`);
  return drawn;
}

/** A button: its text, what it does, and what else it has. */
export function button(text, act, { kind = "", sign = null, ...props } = {}) {
  const made = h("button.btn", { type: "button", class: kind, onclick: act, ...props }, sign && icon(sign), text && h("span", null, text));
  return made;
}

// What Unicode says of a sign tells whether anybody sees it, as in unseen.rs: controls but for tabs and line ends, marks of direction, what has no
// width, halves of a pair. In front stands what is kept although it holds one: joined pictures, and joiners between letters of the scripts that have a use for them.
const PICTURE = String.raw`\p{Extended_Pictographic}\p{Emoji_Modifier}?`;
const JOINED = "Arabic Syriac Nko Mandaic Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Tibetan Myanmar Khmer Mongolian";
const LETTER = `[[\\p{Lo}\\p{M}]&&[${JOINED.replace(/\w+ ?/g, (script) => `\\p{Script=${script.trim()}}`)}]]`;
const DRAWN = String.raw`[\t\n\r\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}]`;
const SIGNS = [
  String.raw`(?:${PICTURE}[\ufe0e\ufe0f]?\u200d)+${PICTURE}[\ufe0e\ufe0f]?`,
  String.raw`${PICTURE}[\ufe0e\ufe0f]`,
  String.raw`[0-9#*]\ufe0f\u20e3`,
  // It looks back, so that a long run of letters is gone through once.
  String.raw`(?<=${LETTER})\p{Join_Control}(?=${LETTER})`,
  String.raw`([[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--${DRAWN}])`,
];
const UNSEEN = new RegExp(SIGNS.join("|"), "gv");

/** A text in which everything can be seen. */
export function plain(text) {
  // Nearly every text, without the tables that a browser makes of the pattern.
  if (/^[\t\n\r -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027\u202f-\u205e]*$/.test(text)) return text;
  return text.replace(UNSEEN, (kept, unseen) => (unseen ? `‹${unseen.codePointAt(0).toString(16)}›` : kept));
}

/** A sentence of the relay's, with what stands between backticks in it as code. */
export function prose(text) {
  return String(text).split(/`([^`\n]+)`/).map((part, at) => (at % 2 ? h("code.foreign", null, part) : part));
}

// ---- numbers and sizes

/** A number with thin spaces between its thousands, and three digits behind its point at most. Not by `Intl`: to load that takes a browser longer than to draw the list. */
export function count(number) {
  const [whole, part] = String(Math.round((number ?? 0) * 1000) / 1000).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? `.${part}` : "");
}

/** "1 event", "2 events". */
export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

/** Bytes for people. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

// ---- time

/** How far the relay's clock is ahead of this machine's, milliseconds. */
let ahead = 0;
let utc = recall("zone") === "utc";

/** Takes the relay's clock as the right one. */
export function setClock(now) {
  const at = Date.parse(now);
  if (Number.isFinite(at)) ahead = at - Date.now();
}

/** The relay's time. */
export function now() {
  return Date.now() + ahead;
}

/** Shows times in UTC, or in the zone of this machine. */
export function setUtc(wanted) {
  utc = wanted;
  remember("zone", wanted ? "utc" : null);
}

export function isUtc() {
  return utc;
}

/** The zone that times are shown in. */
export function zoneName() {
  if (utc) return "UTC";
  const ahead = -new Date(now()).getTimezoneOffset();
  const minutes = Math.abs(ahead) % 60;
  return `GMT${ahead ? `${ahead < 0 ? "−" : "+"}${(Math.abs(ahead) - minutes) / 60}${minutes ? `:${two(minutes)}` : ""}` : ""}`;
}

const two = (number) => String(number).padStart(2, "0");

function parts(at) {
  const date = new Date(at);
  return utc
    ? [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
    : [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()];
}

export function dayOf(at) {
  const [year, month, day] = parts(Date.parse(at));
  return `${year}-${two(month)}-${two(day)}`;
}

export function timeOf(at) {
  const [, , , hour, minute, second] = parts(typeof at === "number" ? at : Date.parse(at));
  return `${two(hour)}:${two(minute)}:${two(second)}`;
}

/** How long ago, or in how long. Never negative: a clock may be a little off. */
export function age(at) {
  return `${span(Math.max(0, now() - Date.parse(at)))} ago`;
}

export function until(at) {
  const left = Date.parse(at) - now();
  return left <= 0 ? "now" : `in ${span(left)}`;
}

/** A span of time in its largest unit. */
export function span(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A moment: the time, or how long ago, and in its title all of it. */
export function moment(at, how = "time") {
  const made = h("time", { datetime: at, "data-how": how });
  retell(made);
  return made;
}

const TELL = { time: timeOf, ago: age, until, full: (at) => `${dayOf(at)} ${timeOf(at)}`, day: dayOf };

function retell(made) {
  const at = made.getAttribute("datetime");
  say(made, (TELL[made.dataset.how] ?? timeOf)(at));
  made.title = `${new Date(Date.parse(at)).toISOString()} · ${age(at)}`;
}

/** Moves all moments on. Called each second, and at once when the zone changes. */
export function tick(all = false) {
  if (document.hidden && !all) return;
  const wanted = all ? "time[datetime]" : 'time[data-how="ago"],time[data-how="until"]';
  for (const made of document.querySelectorAll(wanted)) retell(made);
}

// ---- what this browser remembers: how things are shown, nothing of an event

export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Forbidden: then it lasts as long as the page.
  }
}

export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Puts a text on the clipboard, also where the page came by plain http. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea.offscreen", { readonly: true, "aria-hidden": "true", value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
