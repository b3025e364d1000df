// What stands in the place of the events for those who only look: how the relay stands, and why there is no more.

import { empty, link } from "./parts.js";
import { h } from "./dom.js";
import * as strip from "./strip.js";

let shown = null;

export function open(main) {
  shown = strip.build();
  main.append(shown, empty("Only looking", "This token shows states and numbers, and no events.", h("a.btn", { href: link("destinations") }, "To the destinations")));
  relayChanged();
}

export function close() {
  shown = null;
}

export function relayChanged() {
  strip.draw(shown);
}
export { relayChanged as relay };
