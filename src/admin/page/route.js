// Routing again: what came in once goes where the rules in force now send it, and only where it has not been.

import { newId, post } from "./api.js";
import { count, fill, h, many } from "./dom.js";
import { ask, once, sent } from "./acts.js";

/** Events that one replay names. */
const NAMED_MAX = 1000;
const HOW = { by: "now", only: "missing" };

/** The replays that send some events, by their ids: each has its own id, so that what is said again is done once. */
export function named(ids) {
  const commands = [];
  for (let at = 0; at < ids.length; at += NAMED_MAX) commands.push({ id: newId(), events: ids.slice(at, at + NAMED_MAX), ...HOW });
  return commands;
}

/** The one that sends all that went nowhere, of the whole history. What failed somewhere, or was dropped there, is not among it. */
export function nowhere() {
  return [{ id: newId(), since: new Date(0).toISOString(), unrouted: true, ...HOW }];
}

/** What some replays would do, together. */
async function counted(commands, told) {
  const whole = { events: 0, deliveries: 0, redacted: 0, by: new Map(), has: 0, warnings: new Set() };
  for (const { id, ...command } of commands) {
    let after = null;
    do {
      const part = await post("replays", { ...command, dry_run: true, after });
      whole.events += part.events;
      whole.deliveries += part.deliveries;
      whole.redacted += part.redacted;
      for (const warning of part.warnings) whole.warnings.add(warning);
      for (const of of part.by_destination) {
        whole.has += of.already_delivered;
        if (of.deliveries > 0) whole.by.set(of.destination, (whole.by.get(of.destination) ?? 0) + of.deliveries);
      }
      after = part.next;
      if (after !== null) fill(told, `${many(whole.deliveries, "delivery", "deliveries")} so far …`);
    } while (after !== null);
  }
  return whole;
}

/** Counts first, and says so; then does what `commands()` says. `about` tells which events it is about. */
export async function routeAgain({ about, commands: asked }) {
  let commands = [];
  let found = null;
  const told = h("p", null, "…");
  const warned = h("div");
  const { go: send } = ask({
    title: "Route again by the rules in force now",
    content: [told, warned, h("p.dim", null, about)],
    label: "Route again",
    act: async () => {
      let done = null;
      for (const command of commands) done = await post("replays", command);
      sent([...found.by.keys()], "They are on their way.");
      return done;
    },
  });
  send.disabled = true;
  found = await once(told, async () => {
    commands = await asked();
    return counted(commands, told);
  });
  if (!found) return fill(told, "It could not be counted.");
  const by = [...found.by].map(([destination, deliveries]) => `${count(deliveries)} to ${destination}`).join(", ");
  if (found.redacted > 0) found.warnings.add(`${many(found.redacted, "event")} of which values were taken away cannot be sent again.`);
  const nothing = commands.length === 0 || found.has > 0 ? "They have it already: nothing is left to send." : "By the rules in force now they would go nowhere again.";
  fill(told, found.deliveries ? `${many(found.deliveries, "delivery", "deliveries")} of ${many(found.events, "event")}: ${by}.` : nothing);
  fill(warned, [...found.warnings].map((warning) => h("p.wait", null, warning)));
  send.disabled = found.deliveries === 0;
  if (!send.disabled && send.closest("dialog").contains(document.activeElement)) send.focus();
  fill(send, found.deliveries ? `Route ${many(found.events, "event")}` : "Route again");
}
