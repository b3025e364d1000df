// The strip: what came in within the last hour, and what each destination makes of it.

import { relay } from "./api.js";
import { count, fill, h, icon, keyed, many, now, span, timeOf } from "./dom.js";
import { bars, link, needsSomebody, stateOf, sum, troubleFirst } from "./parts.js";

const HOUR_MS = 3600 * 1000;

/** The strip, with nothing in it yet. */
export function build() {
  return h("nav.strip", { "aria-label": "What came in, and the destinations" });
}

/** Draws it anew, with what is known of the relay. */
export function draw(strip) {
  const { status, minutes } = relay;
  if (!status || !minutes) return;
  const file = isFileBad() ? [{ name: "", isFile: true }] : [];
  const problems = (status.problems ?? []).filter((problem) => !problem.gone_since);
  const wrong = problems.length ? [{ name: "", problems }] : [];
  const key = (item) => `${item.name}|${item.isFile ?? ""}|${Boolean(item.problems)}`;
  keyed(strip, [...file, ...wrong, { name: "" }, ...troubleFirst(status.destinations)], key, make, drawCard);
}

/** Whether the config file is not good as it lies on the disk. */
export function isFileBad() {
  return Boolean(relay.file?.problems) && !relay.onlyLooks;
}

/** What is wrong, the worst first: the whole of it stands in the title. */
function drawProblems(card, problems) {
  const [worst] = problems;
  card.title = problems.map(({ text, told }) => (told ? `${text} (${told.to} was told)` : text)).join("\n");
  card.href = worst.kind.startsWith("destination") || worst.kind.startsWith("backlog") || worst.kind === "dead_letters" ? link("destinations", [worst.about]) : link("config");
  const told = worst.told ? [h("b.foreign", null, worst.told.to), " was told"] : "nobody was told yet";
  fill(card, h("b.bad", null, icon("alarm"), ` ${many(problems.length, "problem")}`), h("span.foreign", null, worst.text), h("span.dim", null, told));
}

function make({ name, isFile, problems }) {
  if (problems) return h("a.card.s-bad");
  if (isFile) return h("a.card.s-bad", { href: link("config") }, h("b.bad", null, icon("alarm"), " The config file is not good"), h("span.dim", null, "The config before stays in force."));
  return h("a.card", { href: name ? link("destinations", [name]) : link("events") });
}

/** The last hour of a destination. */
export function chart(name) {
  const { delivered = [], failed = [] } = relay.minutes?.destinations[name] ?? {};
  return bars(delivered, failed, { label: `${count(sum(delivered))} delivered and ${many(sum(failed), "failed attempt")} ${sinceWhen()}` });
}

/** What the numbers of the last hour count: those of a relay that was started since begin with its start. */
export function sinceWhen() {
  const { startedMs } = relay;
  return startedMs && now() - startedMs < HOUR_MS ? `since ${timeOf(startedMs).slice(0, 5)}` : "in the last hour";
}

/** How a destination stands, in a few words. */
export function standing(item) {
  const oldest = item.oldest_at ? h("span.dim.end", null, `oldest ${span(Math.max(0, now() - Date.parse(item.oldest_at)))}`) : null;
  const word = item.state === "up" ? null : stateOf(item.state).word;
  const told = [word, item.backlog > 0 && `${count(item.backlog)} waiting`, item.held > 0 && `${count(item.held)} held`, item.digest?.events > 0 && `${count(item.digest.events)} for a digest`, item.dead_letters > 0 && many(item.dead_letters, "dead letter")].filter(Boolean);
  if (!told.length) return h("span.dim", null, item.last_delivered_at ? "all delivered" : "nothing since the start");
  return [h("span", { class: needsSomebody(item) ? "bad" : word ? "held" : "wait" }, told.join(", ")), oldest];
}

function drawCard(card, item) {
  if (item.isFile) return;
  if (item.problems) return drawProblems(card, item.problems);
  const known = JSON.stringify([item, relay.minutes.destinations[item.name] ?? relay.minutes.accepted, item.name ? "" : relay.status.store.events, sinceWhen()]);
  if (card.known === known) return;
  card.known = known;
  if (!item.name) {
    const { accepted } = relay.minutes;
    const hour = sum(accepted);
    fill(
      card,
      h("span.line", null, h("b", null, "Accepted"), h("span.dim.end", null, sinceWhen().replace("in the ", ""))),
      bars(accepted, null, { kind: "in", label: `${many(hour, "event")} ${sinceWhen()}` }),
      h("span.line.under", null, h("b", null, count(hour)), h("span", null, `· ${count(accepted.at(-1))}/min`), h("span.dim.end", null, `${count(relay.status.store.events)} kept`)),
    );
    return;
  }
  const { sign, colour, word } = stateOf(item.state);
  card.className = `card ${colour === "good" ? "" : `s-${colour}`}`;
  fill(
    card,
    h("span.line", null, h(`span.${colour}`, null, icon(sign, word)), h("b.foreign", null, item.name), h("span.dim.end", null, item.kind ?? "")),
    chart(item.name),
    h("span.line.under", null, standing(item)),
  );
}
