// Where the keyboard is. What has the focus may be taken away, hidden or disabled by whatever is drawn anew; then the focus goes to what stands
// in its place, so that nobody who works by keys begins again at the top of the page.

const CONTROLS = "a[href],button,input,select,textarea,summary,[tabindex='0']";
const main = document.getElementById("main");

/** What has the focus, what in the view had it last, and what is to have it again: each gives way to what takes its place. */
const current = { element: null };
const inView = { element: null };
const followed = new Set([current, inView]);

document.addEventListener("focusin", ({ target }) => {
  current.element = target;
  if (main.contains(target)) inView.element = target;
});
// Somebody has left it, unless it was taken away: then another has its place by now.
document.addEventListener("focusout", () =>
  queueMicrotask(() => {
    changed(observer.takeRecords());
    if (isNowhere()) current.element = null;
  }),
);

const observer = new MutationObserver(changed);
observer.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden", "disabled"] });

function changed(records) {
  const had = current.element;
  const isTouched = records.some(({ removedNodes }) => [...removedNodes].some((node) => node.contains(had)));
  for (const one of followed) {
    const before = one.element;
    if (before) one.element = inPlaceOf(before, records);
  }
  const { element } = current;
  const isLost = isNowhere() ? isTouched || element !== had : records.some(({ type }) => type === "attributes") && !isUsable(document.activeElement);
  if (element && isLost) element.focus({ preventScroll: true });
}

/** Remembers what has the focus: `back()` gives it back, to it or to what is in its place by then. */
export function follow(element = isNowhere() ? current.element : document.activeElement) {
  const one = { element };
  followed.add(one);
  return {
    back() {
      followed.delete(one);
      if (isNowhere()) one.element?.focus({ preventScroll: true });
    },
  };
}

function isNowhere() {
  return !document.activeElement || document.activeElement === document.body;
}

function isUsable(element) {
  return element.isConnected && !element.disabled && element.checkVisibility({ visibilityProperty: true });
}

/** What is where an element was, after some changes: the element itself, if it is there still. */
function inPlaceOf(element, records) {
  for (const { type, target, removedNodes, previousSibling, nextSibling } of records) {
    if (type === "attributes") {
      if (target.isConnected && target.contains(element) && !isUsable(element)) return beside(target.parentElement, element, [], target);
      continue;
    }
    const removed = [...removedNodes];
    if (!removed.some((node) => node.contains(element))) continue;
    // It was moved.
    if (element.isConnected) return element;
    return target.isConnected ? beside(target, element, removed, previousSibling, nextSibling) : inPlaceOf(target, records);
  }
  return element;
}

/** Of what `parent` holds now, what stands where `gone` was among those that were removed from between two others. */
function beside(parent, gone, removed, before = null, after = null) {
  // Another view has nothing in the place of what this one had.
  if (parent === main) return main;
  const now = controls([parent]);
  const were = controls(removed);
  const follows = (control) => before.compareDocumentPosition(control) & Node.DOCUMENT_POSITION_FOLLOWING && !before.contains(control);
  const behind = before?.parentNode === parent ? now.findIndex(follows) : 0;
  let at = (behind < 0 ? now.length : behind) + Math.max(0, were.findIndex((control) => gone.contains(control)));
  // All was drawn anew, with more or less in it.
  if (!before && !after && now.length !== were.length) {
    const alike = now.filter((control) => nameOf(control) === nameOf(gone)).map((control) => now.indexOf(control));
    if (alike.length) at = alike.reduce((best, other) => (Math.abs(other - at) < Math.abs(best - at) ? other : best));
  }
  return [...now.slice(at), ...now.slice(0, at).toReversed()].find(isUsable) ?? around(parent);
}

function controls(nodes) {
  const elements = nodes.filter((node) => node instanceof Element);
  return elements.flatMap((node) => [...(node.matches(CONTROLS) ? [node] : []), ...node.querySelectorAll(CONTROLS)]);
}

function nameOf(control) {
  return control.getAttribute("aria-label") ?? control.textContent;
}

/** Where nothing can be used any more: the heading above, which says what there is now, or what is around. */
function around(parent) {
  for (let node = parent; node && node !== document.body; node = node.parentElement) {
    const heading = [...node.querySelectorAll("h1,h2")].find((found) => !found.matches(".offscreen") && isUsable(found));
    if (heading) heading.tabIndex = -1;
    if (heading ?? node.matches("[tabindex]")) return heading ?? node;
  }
  return inView.element && isUsable(inView.element) ? inView.element : main;
}
