// What the row of an event says.

import { count, h, icon } from "./dom.js";
import { pill, stuckFirst } from "./parts.js";

/** Of an event, so many deliveries have a pill in its row; the rest is counted. */
const PILLS_MAX = 3;

/** What it is about, and whom. */
export function what(item) {
  return h("span.what", null, h("span.foreign", null, item.campaign ?? "–"), item.who && h("span.who.foreign", null, item.who));
}

/** One tick and the names for all that arrived; a pill for each that did not. */
export function outcomes(deliveries) {
  if (!deliveries.length) return h("span.pill.s-wait", null, icon("nowhere"), "no rule wanted it");
  const arrived = deliveries.filter(({ state }) => state === "delivered");
  const rest = stuckFirst(deliveries.filter(({ state }) => state !== "delivered"));
  // One more would take the place of the number.
  const drawn = rest.length > PILLS_MAX + 1 ? rest.slice(0, PILLS_MAX) : rest;
  return [
    drawn.map(({ destination, state }) => pill(destination, state)),
    drawn.length < rest.length && h("span.dim.more", { title: rest.slice(PILLS_MAX).map(({ destination }) => destination).join(", ") }, `+ ${count(rest.length - drawn.length)}`),
    arrived.length > 0 && h("span.arrived", null, icon("yes", "delivered to"), h("span", null, arrived.map(({ destination }) => destination).join(", "))),
  ];
}
