// What is typed into the search, as the API is asked for it.

/** What may stand before a colon in the search, and what the API calls it. */
export const WORDS = { type: "type", to: "destination", state: "state", rule: "rule", campaign: "campaign", source: "source", who: "email" };

/** Of these the API takes several, with commas between them. */
const LISTS = ["type", "state"];

/** One entry of a list of the API, whatever commas and blanks are in it. */
export function entry(value) {
  return `"${value.replaceAll('"', '""')}"`;
}

/** What finds events by a word of the search and its value. Within quotes, a quote is written twice. */
export function search(word, value) {
  return `${word}:${quoted(value)}`;
}

/** What finds events by a text. */
export function quoted(value) {
  return /^[a-z]+:|[\s",]/.test(value) ? entry(value) : value;
}

/** The parts of what was typed: {whole, at, name, value, isQuoted}. */
export function parts(text) {
  const found = [...text.matchAll(/(?:([a-z]+):)?(?:"((?:[^"]|"")*)"?|(\S+))/g)];
  return found.map(({ 0: whole, 1: name, 2: inQuotes, 3: word, index: at }) => ({ whole, at, name, value: inQuotes?.replaceAll('""', '"') ?? word, isQuoted: inQuotes !== undefined }));
}

/** What is asked of the API for what was typed. Words that are none of ours are looked for as they are. */
export function asked(text, showing) {
  const filter = {};
  const rest = [];
  for (const { name, value, isQuoted } of parts(text)) {
    const key = Object.hasOwn(WORDS, name ?? "") ? WORDS[name] : null;
    if (key && value) filter[key] = isQuoted && LISTS.includes(key) ? entry(value) : value;
    else rest.push(name ? `${name}:${value}` : value);
  }
  if (rest.length) filter.text = rest.join(" ");
  if (showing === "stuck") filter.state = "held,waiting,in_flight,scheduled";
  if (showing === "dead") filter.state = "dead";
  if (showing === "unrouted") filter.unrouted = true;
  return filter;
}
