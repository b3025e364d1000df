// JSON as it is written: digits, the order of keys, and keys that stand twice. `JSON.parse` would lose all three.

import { h, many } from "./dom.js";

/** Deeper, and a text stays a text. */
const DEPTH_MAX = 200;
/** Of a list or an object, so many are drawn at once. */
const DRAWN_AT_ONCE = 200;

/**
 * Reads a text: {kind: "object", members: [[key, node], …]}, {kind: "array", items: […]}, or {kind: "string" | "number" | "boolean" |
 * "null", source}. `source` is what stands in the text. Throws where it is no JSON.
 */
export function read(text) {
  let at = 0;
  const BLANK = /[ \t\n\r]*/y;
  const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
  const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
  const WORD = /true|false|null/y;

  function match(pattern) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) throw new SyntaxError(`no JSON from character ${at + 1} on`);
    at = pattern.lastIndex;
    return found[0];
  }

  function blank() {
    match(BLANK);
  }

  function list(closing, one) {
    at += 1;
    blank();
    if (text[at] === closing) {
      at += 1;
      return;
    }
    for (;;) {
      one();
      blank();
      const sign = text[at];
      if (sign !== "," && sign !== closing) throw new SyntaxError(`no JSON from character ${at + 1} on`);
      at += 1;
      if (sign === closing) return;
      blank();
    }
  }

  function value(depth) {
    if (depth > DEPTH_MAX) throw new SyntaxError(`deeper than ${DEPTH_MAX} levels`);
    blank();
    const sign = text[at];
    if (sign === "{") {
      const members = [];
      list("}", () => {
        const key = match(STRING);
        blank();
        if (text[at] !== ":") throw new SyntaxError(`no JSON from character ${at + 1} on`);
        at += 1;
        members.push([key, value(depth + 1)]);
      });
      return { kind: "object", members };
    }
    if (sign === "[") {
      const items = [];
      list("]", () => items.push(value(depth + 1)));
      return { kind: "array", items };
    }
    if (sign === '"') return { kind: "string", source: match(STRING) };
    if (sign === "t" || sign === "f" || sign === "n") {
      const source = match(WORD);
      return { kind: source === "null" ? "null" : "boolean", source };
    }
    return { kind: "number", source: match(NUMBER) };
  }

  const whole = value(0);
  blank();
  if (at < text.length) throw new SyntaxError(`something stands behind the JSON, from character ${at + 1} on`);
  return whole;
}

/** What a string or a key stands for. */
export function meaning(source) {
  return JSON.parse(source);
}

/** The same on many lines, with everything as it is written. */
export function tidy(node, depth = 0) {
  const inner = "  ".repeat(depth + 1);
  const outer = "  ".repeat(depth);
  if (node.kind === "object") {
    if (!node.members.length) return "{}";
    const lines = node.members.map(([key, value]) => `${inner}${key}: ${tidy(value, depth + 1)}`);
    return `{\n${lines.join(",\n")}\n${outer}}`;
  }
  if (node.kind === "array") {
    if (!node.items.length) return "[]";
    return `[\n${node.items.map((item) => inner + tidy(item, depth + 1)).join(",\n")}\n${outer}]`;
  }
  return node.source;
}

/** All values with their paths, as rules name them: [["user.email", node], …]. */
export function leaves(node, path = []) {
  if (node.kind === "object") return node.members.flatMap(([key, value]) => leaves(value, [...path, meaning(key)]));
  if (node.kind === "array") return node.items.flatMap((item, place) => leaves(item, [...path, String(place)]));
  return [[pathText(path), node]];
}

/** A path as a rule names it; one whose steps hold dots is written with slashes. */
export function pathText(path) {
  const odd = path.some((step) => /[./]/.test(step) || step === "");
  return odd ? `/${path.map((step) => step.replaceAll("~", "~0").replaceAll("/", "~1")).join("/")}` : path.join(".");
}

/** Draws a tree. A click on a value calls `chosen(path, node, element)`. */
export function tree(node, chosen) {
  return h("div.json", null, branch(node, [], chosen, null, true));
}

function branch(node, path, chosen, key, isLast) {
  const name = key === null ? null : [h("span.key", null, bare(key)), ": "];
  const comma = isLast ? "" : ",";
  if (node.kind !== "object" && node.kind !== "array") {
    const value = h("button.value", { type: "button", class: node.kind, onclick: (event) => chosen(path, node, event.currentTarget) }, node.source);
    return h("div.leaf", null, name, value, comma);
  }
  const isObject = node.kind === "object";
  const all = isObject ? node.members : node.items.map((item, place) => [null, item, place]);
  const [open, close] = isObject ? "{}" : "[]";
  if (!all.length) return h("div.leaf", null, name, open + close, comma);
  const inside = h("div.inside");
  let drawn = 0;
  const more = () => {
    const some = all.slice(drawn, drawn + DRAWN_AT_ONCE);
    const kids = some.map(([itsKey, value, place], i) =>
      branch(value, [...path, itsKey === null ? String(place) : meaning(itsKey)], chosen, itsKey, drawn + i === all.length - 1),
    );
    drawn += some.length;
    inside.querySelector(":scope > .rest")?.remove();
    inside.append(...kids);
    const left = all.length - drawn;
    if (left > 0) inside.append(h("button.link.rest", { type: "button", onclick: more }, `… ${many(left, "more")}`.replace(/s$/, "")));
  };
  const folded = h("span.folded", null, ` ${many(all.length, isObject ? "key" : "item")} ${close}${comma}`);
  const details = h(
    "details",
    { open: path.length < 3, ontoggle: () => details.open && drawn === 0 && more() },
    h("summary", null, name, open, folded),
    inside,
    h("div", null, close, comma),
  );
  if (details.open) more();
  return details;
}

/** A key without its quotes, where nothing of it needs them. */
function bare(source) {
  return /^"[\w-]+"$/.test(source) ? source.slice(1, -1) : source;
}

/** Draws the fields in which two texts differ: [[path, here, there], …]. */
export function differences(here, there) {
  const [own, other] = [here, there].map((node) => new Map(leaves(node).map(([path, leaf]) => [path, leaf.source])));
  const paths = new Set([...own.keys(), ...other.keys()]);
  return [...paths].filter((path) => own.get(path) !== other.get(path)).map((path) => [path, own.get(path) ?? null, other.get(path) ?? null]);
}
