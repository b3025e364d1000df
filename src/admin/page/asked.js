// What is typed into the search, as the API is asked for it.

/** What may stand before a colon in the search, and what the API calls it. */
const WORDS = { type: "type", to: "destination", state: "state", rule: "rule", campaign: "campaign", source: "source", who: "email" };

/** What is asked of the API for what was typed. Words that are none of ours are looked for as they are. */
export function asked(text, showing) {
  const filter = {};
  const rest = [];
  for (const [, name, quoted, word] of text.matchAll(/(?:([a-z]+):)?(?:"([^"]*)"?|(\S+))/g)) {
    const key = WORDS[name];
    const value = quoted ?? word;
    if (key && value) filter[key] = value;
    else rest.push(name ? `${name}:${value}` : value);
  }
  if (rest.length) filter.text = rest.join(" ");
  if (showing === "stuck") filter.state = "held,waiting,in_flight,scheduled";
  if (showing === "dead") filter.state = "dead";
  if (showing === "unrouted") filter.unrouted = true;
  return filter;
}
