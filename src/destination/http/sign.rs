//! `sign:`, a signature of each request as the receiver checks it: an HMAC over a text in which the body stands, in a header.
//!
//! Beside Standard Webhooks ([`signature`](super::super::signature)), for receivers that know another form. The receivers whose documentation
//! has an example are held to it in the tests.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use super::super::client::Url;
use super::super::template::is_template;
use super::header_name;
use crate::event::hex;
use crate::fault::Fault;
use crate::secret::Secret;
use crate::yaml::keys::{Key, Of, Section, by_hand, key, secret, text, word};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const SIGN: Key<()> = key("sign", by_hand(Of::Map(keys)))
    .never_empty()
    .about("Signs each attempt in the receiver's own form, beside `signing_secrets`.")
    .example("{ header: X-Hub-Signature-256, secret: \"${HOOK_SECRET}\", prefix: \"sha256=\" }");
const HEADER: Key<String> = key("header", text())
    .seen(Sight::All)
    .about("The header that holds the signature.")
    .example("X-Hub-Signature-256")
    .required();
pub(super) const SECRET: Key<Secret> = key("secret", secret())
    .about("The key that both sides know, as it is: nothing of it is decoded. It is one; while it is replaced, the receiver is the one that knows two.")
    .example("\"${HOOK_SECRET}\"")
    .required();
const ALGORITHM: Key<String> = key("algorithm", word(&ALGORITHM_NAMES))
    .about("`hmac-sha1` is for receivers that know no other.")
    .example("hmac-sha512")
    .default(ALGORITHM_NAMES[0]);
const OVER: Key<String> = key("over", text())
    .seen(Sight::All)
    .about("What is signed: a text with `{body}`, `{timestamp}` (of this attempt, unix seconds), `{id}` (the `webhook-id`), `{method}` and `{url}` in it.")
    .example("\"v0:{timestamp}:{body}\"")
    .default("{body}");
const ENCODING: Key<String> = key("encoding", word(&ENCODINGS))
    .about("How the signature is written: lower-case hex, or base64 with padding.")
    .example("base64")
    .default(ENCODINGS[0]);
const PREFIX: Key<String> = key("prefix", text())
    .seen(Sight::All)
    .about("What stands before the signature in its header. It may hold `{timestamp}`.")
    .example("\"t={timestamp},v1=\"")
    .otherwise("nothing");
const TIMESTAMP_HEADER: Key<String> = key("timestamp_header", text())
    .seen(Sight::All)
    .about("A header that holds the timestamp, for receivers that look for it there.")
    .example("X-Slack-Request-Timestamp")
    .otherwise("`webhook-timestamp` alone");

const ALGORITHM_NAMES: [&str; 3] = ["hmac-sha256", "hmac-sha1", "hmac-sha512"];
const ALGORITHMS: [hmac::Algorithm; 3] = [hmac::HMAC_SHA256, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA512];
const ENCODINGS: [&str; 2] = ["hex", "base64"];

fn keys() -> Section {
    Section::of(&[
        HEADER.info,
        SECRET.info,
        ALGORITHM.info,
        OVER.info,
        ENCODING.info,
        PREFIX.info,
        TIMESTAMP_HEADER.info,
    ])
}

/// How requests are signed.
pub(super) struct Sign {
    header: HeaderName,
    timestamp_header: Option<HeaderName>,
    key: hmac::Key,
    over: Vec<Part>,
    is_base64: bool,
    prefix: Vec<Part>,
}

/// What a signature is made from.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub body: &'a [u8],
    pub timestamp_s: u64,
    pub id: &'a str,
    pub method: &'a Method,
    pub url: &'a Url,
}

/// A part of what is signed, or of what stands before the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Body,
    Timestamp,
    Id,
    Method,
    Url,
}

const PLACES: [(&str, Place); 5] = [
    ("body", Place::Body),
    ("timestamp", Place::Timestamp),
    ("id", Place::Id),
    ("method", Place::Method),
    ("url", Place::Url),
];

/// Reads it, and makes room for its headers among those of all requests. `None` where something is wrong, which has been told.
pub(super) fn read(reader: &Reader, node: &Node, headers: &mut HeaderMap) -> Option<Sign> {
    let mut entries = reader.map(node, "`sign`")?;
    let header = entries.node(&HEADER.info).and_then(|node| read_header(reader, node, headers));
    let secret = entries.read(&SECRET);
    let algorithm = entries.node(&ALGORITHM.info).map_or(Some(ALGORITHMS[0]), |node| read_algorithm(reader, node));
    let over_node = entries.node(&OVER.info);
    let over = over_node.map_or(Some(vec![Part::Place(Place::Body)]), |node| read_parts(reader, node, &PLACES));
    let encoding = entries.node(&ENCODING.info).map_or(Some(ENCODINGS[0]), |node| read_encoding(reader, node));
    let prefix = entries.node(&PREFIX.info).map_or(Some(Vec::new()), |node| read_prefix(reader, node));
    let timestamp_node = entries.node(&TIMESTAMP_HEADER.info);
    let timestamp_header = timestamp_node.map(|node| read_header(reader, node, headers));
    entries.finish();
    if let (Some(node), Some(over)) = (over_node, &over)
        && !over.contains(&Part::Place(Place::Body))
    {
        let help = "write {body} into it".to_owned();
        reader.warning(node.id, "what is signed does not hold the body, so anybody can change it on its way", help);
    }
    if let (Some(node), Some(Some(name))) = (timestamp_node, &timestamp_header)
        && header.as_ref() == Some(name)
    {
        let help = "name another, or take `timestamp_header` out".to_owned();
        reader.error_with(node.id, "this header holds the signature", help);
    }
    let timestamp_header = match timestamp_header {
        Some(name) => Some(name?),
        None => None,
    };
    let (header, algorithm, secret) = (header?, algorithm?, secret?);
    for name in timestamp_header.iter().chain([&header]) {
        headers.insert(name, HeaderValue::from_static(""));
    }
    Some(Sign {
        header,
        timestamp_header,
        key: hmac::Key::new(algorithm, secret.expose().as_bytes()),
        over: over?,
        is_base64: encoding? == ENCODINGS[1],
        prefix: prefix?,
    })
}

fn read_header(reader: &Reader, node: &Node, headers: &HeaderMap) -> Option<HeaderName> {
    let name = header_name(reader, node.id, reader.text(node)?)?;
    if headers.contains_key(&name) {
        let help = "name another, or take it out there".to_owned();
        reader.error_with(node.id, format!("`{name}` is set already, by `headers`, `auth` or the relay"), help);
        return None;
    }
    Some(name)
}

fn read_algorithm(reader: &Reader, node: &Node) -> Option<hmac::Algorithm> {
    let text = reader.text(node)?;
    if let Some(at) = ALGORITHM_NAMES.iter().position(|known| *known == text) {
        return Some(ALGORITHMS[at]);
    }
    let letters = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let (plain, all) = (letters(text), ALGORITHM_NAMES.iter());
    let meant = all.clone().find(|known| [letters(known), letters(known).replace("hmac", "")].contains(&plain));
    let help = meant.map_or_else(|| format!("write {}", ALGORITHM_NAMES.join(", ")), |known| format!("write {known}"));
    reader.error_with(node.id, format!("`{text}` is no algorithm to sign by"), help);
    None
}

fn read_encoding(reader: &Reader, node: &Node) -> Option<&'static str> {
    let text = reader.text(node)?;
    let found = ENCODINGS.iter().find(|known| **known == text).copied();
    if found.is_none() {
        reader.error_with(
            node.id,
            format!("`{text}` is no way to write a signature"),
            "write hex or base64".to_owned(),
        );
    }
    found
}

fn read_prefix(reader: &Reader, node: &Node) -> Option<Vec<Part>> {
    let text = reader.text(node)?;
    if HeaderValue::from_str(text).is_err() {
        reader.error_with(node.id, "a header's value cannot hold line breaks or control characters", None);
        return None;
    }
    let timestamp = PLACES.iter().position(|(_, place)| *place == Place::Timestamp)?;
    read_parts(reader, node, &PLACES[timestamp..=timestamp])
}

fn read_parts(reader: &Reader, node: &Node, places: &[(&str, Place)]) -> Option<Vec<Part>> {
    parts(reader.text(node)?, places).map_err(|fault| reader.fault(node.id, fault)).ok()
}

/// A text with its places.
fn parts(text: &str, places: &[(&str, Place)]) -> Result<Vec<Part>, Fault> {
    let known = || places.iter().map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
    let fault = |message: String, help: String, within: Range<usize>| Fault {
        within: Some(within),
        ..Fault::with_help(message, help)
    };
    if is_template(text) {
        let message = "what is signed is no template: it has places in single braces".to_owned();
        return Err(fault(message, format!("write {}", known()), 0..text.len()));
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|found| at + found) {
        let Some(close) = text[open..].find('}').map(|found| open + found) else {
            return Err(fault(
                "this brace is never closed".to_owned(),
                format!("there are {}", known()),
                open..open + 1,
            ));
        };
        let name = &text[open + 1..close];
        let Some((_, place)) = places.iter().find(|(known, _)| *known == name) else {
            let near = did_you_mean(name, places.iter().map(|(name, _)| *name));
            let help = near.unwrap_or_else(|| format!("there are {}", known()));
            return Err(fault(format!("there is no place `{{{name}}}` here"), help, open..close + 1));
        };
        if open > at {
            parts.push(Part::Text(text[at..open].to_owned()));
        }
        parts.push(Part::Place(*place));
        at = close + 1;
    }
    if at < text.len() {
        parts.push(Part::Text(text[at..].to_owned()));
    }
    Ok(parts)
}

impl Sign {
    /// Puts the signature into the headers of a request.
    pub fn insert(&self, headers: &mut HeaderMap, signed: Signed<'_>) {
        let value = |text: String| HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok();
        if let Some(mut signature) = value(self.value(signed)) {
            // Whoever has it can send this body once more, some for ever.
            signature.set_sensitive(true);
            headers.insert(&self.header, signature);
        }
        if let Some((name, value)) = self.timestamp_header.as_ref().zip(value(signed.timestamp_s.to_string())) {
            headers.insert(name, value);
        }
    }

    /// What tells it from another, without its key: to be compared.
    pub fn way(&self, url: &Url) -> String {
        let signed = Signed { body: b"", timestamp_s: 0, id: "", method: &Method::POST, url };
        format!("{}: {}\n{:?}\n", self.header, self.value(signed), self.over)
    }

    /// What the header holds.
    fn value(&self, signed: Signed<'_>) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        self.over.iter().for_each(|part| part.each(signed, &mut |bytes| context.update(bytes)));
        let mut value = Vec::new();
        self.prefix.iter().for_each(|part| part.each(signed, &mut |bytes| value.extend_from_slice(bytes)));
        let tag = context.sign();
        let encoded = match self.is_base64 {
            true => STANDARD.encode(tag.as_ref()),
            false => hex(tag.as_ref()),
        };
        format!("{}{encoded}", String::from_utf8_lossy(&value))
    }
}

impl Part {
    fn each(&self, signed: Signed<'_>, take: &mut dyn FnMut(&[u8])) {
        match self {
            Part::Text(text) => take(text.as_bytes()),
            Part::Place(Place::Body) => take(signed.body),
            Part::Place(Place::Timestamp) => take(signed.timestamp_s.to_string().as_bytes()),
            Part::Place(Place::Id) => take(signed.id.as_bytes()),
            Part::Place(Place::Method) => take(signed.method.as_str().as_bytes()),
            // What stands behind a `#` is not sent.
            Part::Place(Place::Url) => take(signed.url.as_str().split('#').next().unwrap_or_default().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Nothing;
    use super::*;
    use crate::yaml::load;

    fn signed<'a>(body: &'a str, timestamp_s: u64, url: &'a Url) -> Signed<'a> {
        Signed { body: body.as_bytes(), timestamp_s, id: "0192", method: &Method::POST, url }
    }

    #[track_caller]
    fn check(section: &str, body: &str, timestamp_s: u64, expected: &str) {
        let node = load::parse(section).unwrap_or_else(|error| panic!("{section}: {}", error.message));
        let reader = Reader::new(".".into(), &Nothing);
        let sign = read(&reader, &node, &mut HeaderMap::new()).expect("it is good");
        let url = Url::parse("https://mycompany.com/myapp.php?foo=1&bar=2#here").expect("a URL");
        assert_eq!(sign.value(signed(body, timestamp_s, &url)), expected, "{section}");
    }

    #[track_caller]
    fn refused(section: &str, expected: &str, help: &str) {
        let node = load::parse(section).unwrap_or_else(|error| panic!("{section}: {}", error.message));
        let reader = Reader::new(".".into(), &Nothing);
        let mut headers = HeaderMap::new();
        headers.insert("x-taken", HeaderValue::from_static("1"));
        assert!(read(&reader, &node, &mut headers).is_none() || reader.errors() > 0, "{section} is taken");
        let told = reader.into_found().problems;
        let is_told = |message: &str, more: &str| message.contains(expected) && more.contains(help);
        assert!(told.iter().any(|told| is_told(&told.message, told.help.as_deref().unwrap_or_default())), "{section}");
    }

    /// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
    #[test]
    fn githubs_example_has_its_signature() {
        let section = r#"{ header: X-Hub-Signature-256, secret: "It's a Secret to Everybody", prefix: "sha256=" }"#;
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        check(section, "Hello, World!", 0, expected);
    }

    /// <https://api.slack.com/docs/verifying-requests-from-slack>
    #[test]
    fn slacks_example_has_its_signature() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let section = "{ header: X-Slack-Signature, secret: 8f742231b10e8888abcd99yyyzzz85a5, over: \"v0:{timestamp}:{body}\", prefix: v0=, timestamp_header: X-Slack-Request-Timestamp }";
        let expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        check(section, body, 1_531_420_618, expected);
    }

    /// The older example of <https://www.twilio.com/docs/usage/security>: its parameters, sorted and without anything between them.
    #[test]
    fn twilios_example_has_its_signature() {
        let section = "{ header: X-Twilio-Signature, secret: \"12345\", algorithm: hmac-sha1, over: \"{url}{body}\", encoding: base64 }";
        let body = "CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212";
        check(section, body, 0, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    /// Base64 over the body: <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>. It shows no example; by
    /// `printf '{"foo":"bar"}' | openssl dgst -sha256 -hmac hush -binary | base64`.
    #[test]
    fn a_signature_in_shopifys_form_is_base64_over_the_body() {
        let section = "{ header: X-Shopify-Hmac-SHA256, secret: hush, encoding: base64 }";
        check(section, r#"{"foo":"bar"}"#, 0, "kxsFTgDOlihbs91PqCBFjROWdTQGkFF0NzCvVuvOLsU=");
    }

    /// The timestamp, a full stop and the body: <https://docs.stripe.com/webhooks/signatures>. It shows no secret; by
    /// `printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test`.
    #[test]
    fn a_signature_in_stripes_form_has_its_timestamp_beside_it() {
        let section = "{ header: Stripe-Signature, secret: whsec_test, over: \"{timestamp}.{body}\", prefix: \"t={timestamp},v1=\" }";
        let expected = "t=1492774577,v1=7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2";
        check(section, r#"{"id":"evt_1"}"#, 1_492_774_577, expected);
    }

    /// RFC 4231, test case 2: <https://www.rfc-editor.org/rfc/rfc4231#section-4.3>.
    #[test]
    fn a_signature_by_sha512_is_the_one_of_the_rfc() {
        let expected = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        check("{ header: X-S, secret: Jefe, algorithm: hmac-sha512 }", "what do ya want for nothing?", 0, expected);
    }

    #[test]
    fn all_places_are_filled_in_and_other_braces_are_told() {
        let of =
            |text: &str| parts(text, &PLACES).map(|parts| parts.len()).map_err(|fault| (fault.message, fault.within));
        assert_eq!(of("{method} {url}\n{id}.{timestamp}.{body}"), Ok(9));
        assert_eq!(of(""), Ok(0));
        let (message, within) = of("a.{bodi}").expect_err("there is none");
        assert_eq!((message.contains("{bodi}"), within), (true, Some(2..8)));
        assert_eq!(of("a.{body").expect_err("it is open").1, Some(2..3));
        assert!(of("{{ body }}").expect_err("a template").0.contains("no template"));
    }

    #[test]
    fn what_nobody_could_check_is_refused() {
        refused("{ header: X-S, secret: s, algorithm: sha1 }", "no algorithm", "hmac-sha1");
        refused("{ header: X-S, secret: s, algorithm: HMAC_SHA256 }", "no algorithm", "write hmac-sha256");
        refused("{ header: X-S, secret: s, algorithm: md5 }", "no algorithm", "hmac-sha256, hmac-sha1, hmac-sha512");
        refused("{ header: X-S, secret: s, encoding: hexx }", "no way to write", "hex or base64");
        refused("{ header: X-S, secret: s, prefix: \"{body}\" }", "no place `{body}`", "{timestamp}");
        refused("{ header: webhook-signature, secret: s }", "webhook-signature", "");
        refused("{ header: X-Taken, secret: s }", "set already", "");
        refused("{ header: X-S, secret: s, timestamp_header: x-s }", "holds the signature", "");
        refused("{ secret: s }", "header", "");
        refused("{ header: X-S }", "secret", "");
    }
}
