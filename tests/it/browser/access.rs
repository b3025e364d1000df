//! For everybody: names of all controls, contrast of all texts, and narrow screens.

use serde_json::{Value, json};

use super::page::Page;
use super::stage::Stage;

/// Roles that say nothing without a name.
const NAMED: [&str; 14] = [
    "button",
    "link",
    "textbox",
    "searchbox",
    "checkbox",
    "combobox",
    "menuitem",
    "image",
    "img",
    "meter",
    "navigation",
    "dialog",
    "group",
    "table",
];

/// What has no name, though somebody who does not see it would need one.
async fn nameless(page: &Page) -> Vec<String> {
    let tree = page.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().expect("nodes");
    assert!(nodes.len() > 20, "the tree was found");
    let is_shown = |node: &&Value| node["ignored"] != true;
    let needs_name = |node: &&Value| NAMED.contains(&node["role"]["value"].as_str().unwrap_or_default());
    let has_none = |node: &&Value| node["name"]["value"].as_str().unwrap_or_default().trim().is_empty();
    // A table is named by its head, and a group may be a fold.
    let may_be_without = |node: &&Value| matches!(node["role"]["value"].as_str(), Some("table" | "group"));
    let odd = nodes.iter().filter(is_shown).filter(needs_name).filter(has_none).filter(|node| !may_be_without(node));
    odd.map(|node| format!("{} {}", node["role"]["value"], node["backendDOMNodeId"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_can_be_used_has_a_name_and_each_view_has_one_title() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    stage
        .tour(&page, async |page, place| {
            assert_eq!(nameless(page).await, [""; 0], "{place}");
            let titles =
                page.run("return [...document.querySelectorAll('h1')].map((title) => title.textContent)", &[]).await;
            assert!(titles.as_array().is_some_and(|titles| !titles.is_empty()), "{place}: {titles}");
            let current = page.run("return document.querySelectorAll('#tabs a[aria-current]').length", &[]).await;
            assert_eq!(current, 1, "{place}");
        })
        .await;
    page.click("button.keys", "").await;
    page.sees("dialog", "Keys").await;
    assert_eq!(nameless(&page).await, [""; 0], "the keys");
    page.end().await;
}

/// The texts whose colour is too near to that of their ground: what WCAG asks for is 4.5 : 1, and 3 : 1 of large ones.
const FAINT: &str = "
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const over = ([r, g, b, a], ground) => [r, g, b].map((part, i) => (part * a + ground[i] * (255 - a)) / 255);
const ground = (element) => {
  if (!element) return [255, 255, 255];
  const colour = rgba(getComputedStyle(element).backgroundColor);
  return colour[3] === 255 ? colour.slice(0, 3) : over(colour, ground(element.parentElement));
};
const light = (colour) => {
  const [r, g, b] = colour.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
let looked = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
  if (element.closest('.offscreen, :disabled')) continue;
  const style = getComputedStyle(element);
  const behind = ground(element);
  const [one, other] = [light(over(rgba(style.color), behind)), light(behind)].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  looked += 1;
  if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.className || element.tagName}: ${walk.currentNode.data.slice(0, 30)}`);
}
return { looked, found: [...new Set(found)] };
";

#[tokio::test(flavor = "multi_thread")]
async fn every_text_stands_out_from_its_ground_in_light_and_dark() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    for scheme in ["light", "dark"] {
        page.colours(scheme).await;
        stage
            .tour(&page, async |page, place| {
                let told = page.run(FAINT, &[]).await;
                assert!(told["looked"].as_u64() > Some(15), "texts were looked at: {told}");
                assert_eq!(told["found"], json!([]), "{place} in {scheme}");
            })
            .await;
    }
    page.end().await;
}

/// What reaches out of the window, or can be scrolled sideways, and is neither a table nor code nor the strip.
pub const WIDE: &str = "
const allowed = '.tablebox, .strip, pre, .yaml, .json, textarea, .offscreen, input';
const found = [];
for (const element of document.body.querySelectorAll('*')) {
  if (element.closest(allowed) || element.closest('svg') || !element.checkVisibility({ visibilityProperty: true })) continue;
  const box = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  if (box.width && box.right > innerWidth + 1) found.push(`out: ${element.tagName}.${element.className}`);
  if (element.scrollWidth > element.clientWidth + 1 && ['auto', 'scroll'].includes(style.overflowX)) found.push(`sideways: ${element.tagName}.${element.className}`);
}
if (document.documentElement.scrollWidth > innerWidth) found.push('the whole page');
return [...new Set(found)];
";

/// What is smaller than a finger: WCAG asks for 24 by 24, but of links within a text.
const SMALL: &str = "
const found = [];
for (const element of document.querySelectorAll('button, a.btn, .tabs a, a.row, a.card, a.destination, input, summary')) {
  if (!element.checkVisibility({ visibilityProperty: true }) || element.closest('.json, .offscreen') || element.matches('.link, .value')) continue;
  const target = element.matches('input[type=checkbox]') ? (element.closest('label') ?? element) : element;
  const box = target.getBoundingClientRect();
  if (box.width < 23.5 || box.height < 23.5) found.push(`${element.tagName}.${element.className} ${box.width.toFixed()}x${box.height.toFixed()}`);
}
return [...new Set(found)];
";

/// Short words that stand in two lines, because what is around them has no room.
const BROKEN: &str = "
const found = [];
let looked = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode;
  if (!node.parentElement.checkVisibility({ visibilityProperty: true }) || node.parentElement.closest('.offscreen, pre, .json, .yaml, textarea')) continue;
  for (const word of node.data.matchAll(/(?<!\\S)\\w{2,14}(?!\\S)/g)) {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    looked += 1;
    if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(word[0]);
  }
}
return { looked, found: [...new Set(found)] };
";

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_screen_needs_no_scrolling_sideways_and_what_is_touched_is_large_enough() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    for width in [320, 390, 768, 1024] {
        page.screen(width, 700).await;
        stage
            .tour(&page, async |page, place| {
                assert_eq!(page.run(WIDE, &[]).await, json!([]), "{place} at {width}");
                if width < 1000 {
                    assert_eq!(page.run(SMALL, &[]).await, json!([]), "{place} at {width}");
                }
                let words = page.run(BROKEN, &[]).await;
                assert!(words["looked"].as_u64() > Some(10), "words were looked at: {words}");
                assert_eq!(words["found"], json!([]), "{place} at {width}");
            })
            .await;
    }
    page.end().await;
}
