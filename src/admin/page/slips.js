// Slips of the search, and what may be meant: loaded when there may be one.

import { WORDS, parts, quoted, search } from "./asked.js";

/** What the API calls by another name than the search. */
const OTHER_NAMES = { destination: "to", email: "who" };

/**
 * What in a search probably does not do what was meant, and what would: [{said, instead}, …]. `foundNone`: also what may be meant as it is,
 * where something is found.
 */
export function slips(text, foundNone) {
  const all = parts(text);
  /** The same with something else in the place of some parts. */
  const instead = (better) => all.toReversed().reduce((so_far, part) => so_far.slice(0, part.at) + better(part) + so_far.slice(part.at + part.whole.length), text);
  const found = all.flatMap((part) => {
    const { name, value } = part;
    const slip = (said, better) => [{ said, instead: instead((other) => (other === part ? better : other.whole)) }];
    if (name && !Object.hasOwn(WORDS, name)) {
      const word = OTHER_NAMES[name] ?? Object.keys(WORDS).find((known) => isNear(name, known));
      return word ? slip(`\`${name}:\` is no word of the search, so it is looked for as text. Did you mean \`${word}:\`?`, search(word, value)) : [];
    }
    if (!foundNone) return [];
    if (name === "campaign" && !/[*?]/.test(value)) return slip("`campaign:` takes the whole name; with a `*` behind it, its beginning is enough.", search(name, `${value}*`));
    return [];
  });
  const written = instead(({ whole, name, value }) => (name ? whole : quoted(escaped(value))));
  if (!foundNone || all.every(({ name, value }) => name || escaped(value) === value)) return found;
  return [...found, { said: "A text is found as it is written in the event; a sender may have written letters like these as `\\u` and four digits.", instead: written }];
}

/** As JSON may write it that has no letters beyond ASCII. */
function escaped(value) {
  return value.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Whether one letter more, less or another, or two that have changed places, make one word of another. */
function isNear(word, known) {
  const most = Math.max(word.length, known.length);
  let begin = 0;
  while (begin < most && word[begin] === known[begin]) begin += 1;
  let end = 0;
  while (end < Math.min(word.length, known.length) - begin && word.at(-1 - end) === known.at(-1 - end)) end += 1;
  const [left, right] = [word.slice(begin, word.length - end), known.slice(begin, known.length - end)];
  const isTurned = left.length === 2 && left === [...right].toReversed().join("");
  return most > 2 && (isTurned || (left.length <= 1 && right.length <= 1));
}
