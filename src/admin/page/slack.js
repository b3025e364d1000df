// A message as Slack would draw it, roughly: mrkdwn, and the blocks that people use. Links are drawn, and lead nowhere: an address in an
// event may be anybody's.

import { h, timeOf } from "./dom.js";

/** Draws what is posted to a Slack webhook, a text that is JSON; `null` where it is none. */
export function message(content, at) {
  let posted;
  try {
    posted = JSON.parse(content);
  } catch {
    return null;
  }
  if (posted === null || typeof posted !== "object" || Array.isArray(posted)) return null;
  const name = typeof posted.username === "string" ? posted.username : "vero-relay";
  const blocks = Array.isArray(posted.blocks) ? posted.blocks : null;
  const body = blocks ? blocks.map(block) : text(posted.text);
  const attached = Array.isArray(posted.attachments) ? posted.attachments.map(attachment) : null;
  return h(
    "div.slack",
    null,
    h("div.avatar", { "aria-hidden": "true" }, "V"),
    h("div", null, h("div.author", null, h("b", null, name), h("span.app", null, "APP"), at && h("span.dim", null, timeOf(at).slice(0, 5))), body, attached),
  );
}

function attachment(one) {
  if (one === null || typeof one !== "object") return null;
  const blocks = Array.isArray(one.blocks) ? one.blocks.map(block) : null;
  return h("div.attachment", null, one.pretext && text(one.pretext), one.title && h("b", null, String(one.title)), blocks ?? text(one.text ?? one.fallback));
}

function block(one) {
  if (one === null || typeof one !== "object") return null;
  switch (one.type) {
    case "header":
      return h("div.title", null, plainText(one.text));
    case "divider":
      return h("hr");
    case "section":
      return h(
        "div.section",
        null,
        one.text && words(one.text),
        Array.isArray(one.fields) && h("div.fields", null, one.fields.map((field) => h("div", null, words(field)))),
        one.accessory && element(one.accessory),
      );
    case "context":
      return h("div.context", null, (one.elements ?? []).map((part) => (part?.type === "image" ? h("span.image", null, part.alt_text ?? "image") : h("span", null, words(part)))));
    case "actions":
      return h("div.actions", null, (one.elements ?? []).map(element));
    case "image":
      return h("div.image", null, plainText(one.title) || one.alt_text || "an image");
    case "rich_text":
      return h("div", null, (one.elements ?? []).flatMap((part) => part?.elements ?? []).map((part) => String(part?.text ?? part?.url ?? "")));
    default:
      return h("div.dim", null, `a block of the type ${String(one.type)}`);
  }
}

function element(one) {
  if (one?.type === "button") return h("span.button", { class: one.style ?? "" }, plainText(one.text));
  return h("span.dim", null, `(${String(one?.type)})`);
}

function plainText(value) {
  return typeof value === "string" ? value : String(value?.text ?? "");
}

function words(value) {
  if (value?.type === "plain_text") return h("div", null, plainText(value));
  return text(plainText(value));
}

/** A text in mrkdwn, line by line: quotes, fences, and what stands between signs. */
export function text(source) {
  const lines = String(source ?? "").split("\n");
  const out = [];
  let fence = null;
  let quote = [];
  const endQuote = () => {
    if (quote.length) out.push(h("blockquote", null, quote));
    quote = [];
  };
  for (const line of lines) {
    if (fence) {
      const end = line.indexOf("```");
      fence.push(end < 0 ? line : line.slice(0, end));
      if (end < 0) continue;
      out.push(h("pre", null, fence.join("\n").replace(/^\n|\n$/g, "")));
      fence = null;
      continue;
    }
    if (line.startsWith("```")) {
      const rest = line.slice(3);
      const end = rest.indexOf("```");
      endQuote();
      if (end >= 0) out.push(h("pre", null, rest.slice(0, end)));
      else fence = [rest];
      continue;
    }
    const quoted = /^(?:&gt;|>) ?(.*)$/.exec(line);
    if (quoted) {
      quote.push(h("div", null, inline(quoted[1])));
      continue;
    }
    endQuote();
    out.push(h("div", null, line ? inline(line) : "\u00a0"));
  }
  if (fence) out.push(h("pre", null, fence.join("\n")));
  endQuote();
  return out;
}

const SIGNS = /(`[^`]+`)|(<[^>]+>)|(^|[\s(\[{"'])(\*[^*\s](?:[^*]*[^*\s])?\*|_[^_\s](?:[^_]*[^_\s])?_|~[^~\s](?:[^~]*[^~\s])?~)(?=$|[\s.,:;!?)\]}"'])|(:[a-z0-9_+-]+:)/g;
const TAGS = { "*": "b", _: "i", "~": "s" };

function inline(line) {
  const out = [];
  let at = 0;
  for (const found of line.matchAll(SIGNS)) {
    const [whole, code, angle, before, marked, emoji] = found;
    out.push(entities(line.slice(at, found.index)));
    at = found.index + whole.length;
    if (code) out.push(h("code", null, entities(code.slice(1, -1))));
    else if (angle) out.push(reference(angle.slice(1, -1)));
    else if (emoji) out.push(EMOJI[emoji.slice(1, -1)] ?? emoji);
    else out.push(before, h(TAGS[marked[0]], null, inline(marked.slice(1, -1))));
  }
  out.push(entities(line.slice(at)));
  return out;
}

/** <address|words>, <@U…>, <#C…>, <!here>. */
function reference(inside) {
  const [target, ...label] = inside.split("|");
  const shown = entities(label.join("|") || target);
  if (/^[@#!]/.test(target)) return h("span.mention", null, label.length ? shown : target);
  if (/^(https?:|mailto:)/.test(target)) return h("span.anchor", { title: entities(target) }, shown);
  return entities(`<${inside}>`);
}

function entities(source) {
  return source.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

/** Those that messages about mail use. */
const EMOJI = {
  warning: "⚠️", x: "❌", white_check_mark: "✅", heavy_check_mark: "✔️", rotating_light: "🚨", email: "📧", envelope: "✉️", mailbox: "📫",
  incoming_envelope: "📨", no_entry: "⛔", no_entry_sign: "🚫", bell: "🔔", tada: "🎉", eyes: "👀", fire: "🔥", wave: "👋", link: "🔗",
  chart_with_upwards_trend: "📈", chart_with_downwards_trend: "📉", red_circle: "🔴", large_green_circle: "🟢", large_yellow_circle: "🟡",
  information_source: "ℹ️", bust_in_silhouette: "👤", shopping_trolley: "🛒", hourglass: "⌛", question: "❓", exclamation: "❗", boom: "💥",
};
