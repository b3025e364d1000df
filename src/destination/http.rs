//! `http:` posts the event, as it came or reshaped, to a URL. [`own`]: the headers that each request makes anew. [`notice`]: what an operator
//! is told. [`sign`](mod@self::sign): a signature in the receiver's own form. [`batch`]: one request for several events. [`query`]: what is
//! added to the URL. [`needs`]: what an event must have. [`outcomes`]: what answers mean by what they say.

mod batch;
mod needs;
mod notice;
mod outcomes;
mod own;
mod query;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use serde_json::json;

use self::batch::Batch;
use super::client::{self, ANSWER_BYTES_MAX, Call, Client, Masks, NoAnswer, Url, is_loopback};
use super::digest::{DigestKeys, own_node, template};
use super::signature::{SigningKey, sign};
use super::structure::{Options, Structure};
use super::template::{Escape, Subject, Template, is_template};
use super::unsent::says_nothing;
use super::view::View;
use super::{
    Answers, Batching, Context, Defaults, Delivery, Destination, Digest, Kind, Language, Outcome, Outcomes, Preview,
    Teller, TemplateKey, Unsent, exposure, one_by_one, shaping, url_template, way, within,
};
use crate::event::{Json, Shaping};
use crate::fault::Fault;
use crate::secret::{Secret, names_a_secret};
use crate::yaml::credentials;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Key, Of, Section, boolean, by_hand, form, key, text, word};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const KIND: Kind = Kind {
    name: "http",
    about: "A request for each event.",
    example: "{ url: \"https://crm.example.com/hooks/vero\" }",
    form: "{ url: \"https://…\" }",
    defaults_example: "{ timeout: 5s, headers: { x-relay: vero } }",
    keys,
    has_answers: true,
    likeness: |text| if text.contains("://") { 2 } else { 0 },
    templates: &[
        TemplateKey::of(URL.info.name, Language::Text),
        TemplateKey::of(JSON.info.name, Language::Json).omitted_by(OMIT_MISSING.info.name),
        TemplateKey::of(TEXT.info.name, Language::Text),
        TemplateKey::of(needs::NEEDS.info.name, Language::Json),
        TemplateKey::of(needs::SKIP_WITHOUT.info.name, Language::Json),
    ],
    fields: &[],
    shapes: &shaping::LISTS,
    columns: &[],
    secret_keys: &[
        "url",
        query::QUERY.info.name,
        "proxy",
        "headers",
        "bearer",
        "basic",
        "header",
        "value",
        sign::SECRET.info.name,
        shaping::HASH_KEY.info.name,
    ],
    always_secret: &[shaping::HASH_KEY.info.name],
    // A hash tells nothing of its key.
    not_content: &[
        URL.info.name,
        query::QUERY.info.name,
        AUTH.info.name,
        HEADERS.info.name,
        SIGNING_SECRETS.info.name,
        sign::SIGN.info.name,
        shaping::HASH_KEY.info.name,
    ],
    tested_parts: &[],
    digest: Some(DigestKeys {
        keys: || Section::of(&[DIGEST_JSON.info, DIGEST_TEXT.info]),
        templates: &[template(DIGEST_JSON.info.name, Language::Json), template(DIGEST_TEXT.info.name, Language::Text)],
    }),
    unordered: None,
    defaults: Defaults {
        concurrency: 8,
        interval: None,
        give_up_after: Duration::from_secs(72 * 60 * 60),
        stale_after: None,
    },
    build: |context, entries| build(context, entries).map(|http| Arc::new(http) as Arc<dyn Destination>),
};

/// Of the events of a request so many are made, and then others have their turn: a template may take some milliseconds.
const MADE_AT_ONCE: usize = 16;
const METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];

const URL: Key<String> = key("url", form(client::URL_FORM, "URL"))
    .seen(Sight::Url).about("Where to. Templates may stand in its path and query, each value encoded as one segment; never in the host: an event must not choose where it goes. Redirects are not followed. User and password belong into `auth`.")
    .example("\"https://crm.example.com/users/{{ user.id }}\"")
    .required_or_default();
const METHOD: Key<String> = key("method", word(&METHODS))
    .about("The request's method: one that carries a body.")
    .example("PUT")
    .default(METHODS[0]);
const HEADERS: Key<()> = key("headers", by_hand(Of::SecretsByName))
    .about("Headers, the same for every event. Not those of the protocol (`host`, `content-length` …), nor `webhook-id`, `webhook-timestamp` and `webhook-signature`.")
    .example("{ x-api-key: \"${API_KEY}\" }");
const AUTH: Key<()> = key("auth", by_hand(Of::Map(auth_keys)))
    .about("How the relay proves itself.")
    .example("{ bearer: \"${CRM_TOKEN}\" }");
const SIGNING_SECRETS: Key<()> = key("signing_secrets", by_hand(Of::Secrets))
    .about("Signs each request after [Standard Webhooks](https://www.standardwebhooks.com/): `whsec_` and base64 of 24 to 64 bytes; several while one replaces the other.")
    .example("[\"${SIGNING_SECRET}\"]");
const JSON: Key<()> = key("json", by_hand(Of::Own("any YAML", || json!({}))))
    .seen(Sight::Expressions).about("The body, as a structure whose texts are templates. A text that is nothing but one `{{ path }}` keeps its JSON type and digits.")
    .example("{ who: \"{{ user.email }}\" }")
    .otherwise("the body, byte for byte as it came");
const OMIT_MISSING: Defaulted<bool> = key("omit_missing", boolean())
    .about("With `json`: a path to a missing value drops its key in place of writing null.")
    .example("true")
    .default(false);
const TEXT: Key<String> = key("text", text())
    .seen(Sight::Expressions)
    .about("The body, as one template; `text/plain` unless `headers` say otherwise. Not beside `json`.")
    .example("\"{{ user.email }},{{ type }}\"");

const ESCAPES: [&str; 2] = ["html", "markdown"];
const ESCAPE: Key<String> = key("escape", word(&ESCAPES))
    .about("What is done to each value where a template of a body puts it in, so that none is markup: in `html` `& < > \" '` become entities; in `markdown` a backslash stands before each of `` \\ ` * _ ~ | < > [ ] ( ) # `` and before what would begin a list or a rule, and a value of several lines becomes one line. In both an `@` that begins a word becomes `＠`, so that nobody is called. A chat that makes links of plain addresses still does. What the filter `url` makes stays a link. A text of `json` that is one `{{ path }}` becomes a text then.")
    .example("markdown")
    .otherwise("nothing");

const DIGEST_JSON: Key<()> = key("json", by_hand(Of::Own("any YAML", || json!({}))))
    .seen(Sight::Expressions)
    .about("The body of a request that is a digest, as a structure whose texts are templates over `digest`. For http, whose own body is not `json`, it is this or `text`.")
    .example("{ count: \"{{ digest.count }}\" }")
    .otherwise("`{digest, groups, events}`, where the body of a single event is `json`");
const DIGEST_TEXT: Key<String> = key("text", text())
    .seen(Sight::Expressions)
    .about("The body of a request that is a digest, as one template over `digest`. Not beside `json`.")
    .example("\"{% for event in digest.events %}{{ event.user.email }} {% endfor %}\"");

const BEARER: Key<()> =
    key("bearer", by_hand(Of::Secret)).about("`Authorization: Bearer …`").example("\"${CRM_TOKEN}\"");
const BASIC: Key<()> = key("basic", by_hand(Of::Map(credentials::basic_keys)))
    .about("`Authorization: Basic …`")
    .example("{ username: relay, password: \"${CRM_PASSWORD}\" }");
const HEADER: Key<()> = key("header", by_hand(Of::Map(|| credentials::header_keys("X-Api-Key"))))
    .about("A header of any name.")
    .example("{ name: X-Api-Key, value: \"${API_KEY}\" }");

fn keys() -> Section {
    let own = [
        URL.info,
        query::QUERY.info,
        METHOD.info,
        HEADERS.info,
        AUTH.info,
        SIGNING_SECRETS.info,
        sign::SIGN.info,
        JSON.info,
        OMIT_MISSING.info,
        TEXT.info,
        ESCAPE.info,
        needs::NEEDS.info,
        needs::SKIP_WITHOUT.info,
        batch::BATCH.info,
        notice::NOTICE.info,
        outcomes::OUTCOMES.info,
        outcomes::RETRY_HINT.info,
    ];
    let section = Section::of(&own).and(&way::KEYS);
    let beside = shaping::LISTS.into_iter().flat_map(|list| [JSON.info.name, TEXT.info.name].map(|body| (list, body)));
    beside
        .fold(shaping::with_keys(section), |section, (list, body)| section.never(list, body))
        .never(JSON.info.name, TEXT.info.name)
        .besides_alone(json!({ "dependentRequired": { OMIT_MISSING.info.name: [JSON.info.name] } }))
}

fn auth_keys() -> Section {
    let choices = [BEARER.info, BASIC.info, HEADER.info];
    Section::of(&choices).one_of(&choices.map(|key| key.name))
}

/// Headers that belong to the protocol or to the relay.
const RESERVED: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "upgrade",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-vero-relay-via",
    "x-vero-relay-loop",
];

/// Headers that say nothing but how the body is to be read: they are shown as they are. All others may hold a secret.
const HARMLESS: [&str; 4] = ["content-type", "accept", "accept-language", "user-agent"];

struct Http {
    client: Client,
    method: Method,
    target: Target,
    /// Of every request, with room for those that each makes anew.
    headers: HeaderMap,
    masks: Masks,
    content_masks: Masks,
    body: Body,
    digest: DigestBody,
    batch: Option<Batch>,
    signing_keys: Vec<SigningKey>,
    sign: Option<sign::Sign>,
    answers: Answers,
    said: outcomes::Said,
    needs: needs::Needs,
    notice: notice::Told,
}

/// What several deliveries look like as one.
struct DigestBody {
    /// What the config says.
    own: Option<Body>,
    /// Where that says nothing, the event's own form stands for: JSON.
    is_usual: bool,
    /// What it is, unless `headers` say so.
    content_type: Option<HeaderValue>,
}

enum Target {
    Fixed(Url),
    Templated(Box<Templated>),
}

/// A URL with templates.
struct Templated {
    /// Up to its path.
    base: Url,
    /// Its path and query.
    source: String,
    rest: Template,
    /// The path and query as they may be shown: an event's values stay, all else is `…`.
    shown: Option<Template>,
}

impl Templated {
    fn url(&self, view: &View) -> Result<Url, Unsent> {
        url_template::url(&self.base, &self.source, &self.rest.render_marked(view)?)
    }
}

enum Body {
    AsItCame,
    /// As it came, but for some fields.
    Shaped(Shaping),
    Json(Structure),
    Text(Template),
}

fn build(context: &Context<'_>, mut entries: Entries<'_, '_>) -> Option<Http> {
    let reader = context.reader;
    let query = query::read(reader, entries.node(&query::QUERY.info));
    let target = entries.node(&URL.info).and_then(|node| target(reader, node, &query));
    let method = entries.node(&METHOD.info).map_or(Some(Method::POST), |node| method(reader, node));
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let escape = entries.node(&ESCAPE.info).map_or(Some(Escape::None), |node| escape(reader, node));
    let text_escape = escape.unwrap_or(Escape::None);
    let body = body(reader, &mut entries, &mut headers, text_escape);
    let needed = [&needs::NEEDS.info, &needs::SKIP_WITHOUT.info].map(|key| entries.node(key));
    let needs = needs::Needs::read(reader, needed);
    let notice = notice::read(reader, entries.node(&notice::NOTICE.info), text_escape);
    let said = outcomes::Said::read(reader, &mut entries);
    let batch_node = entries.node(&batch::BATCH.info);
    let batch = batch_node.map(|node| batch::read(reader, node, target.as_ref(), body.as_ref()));
    if let Some(Some(content_type)) = batch.as_ref().map(|batch| batch.as_ref().and_then(Batch::content_type)) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    let given = entries.node(&HEADERS.info);
    let is_content_type = |(key, _): &(crate::yaml::raw::Key, Node)| key.text.eq_ignore_ascii_case("content-type");
    let says_content_type = given.is_some_and(|node| node.entries().iter().any(is_content_type));
    if let Some(node) = given {
        read_headers(reader, node, &mut headers);
    }
    if let Some(node) = entries.node(&AUTH.info) {
        read_auth(reader, node, &mut headers);
    }
    let mut signing_keys = Vec::new();
    for node in entries.node(&SIGNING_SECRETS.info).map(|node| reader.list(node)).unwrap_or_default() {
        match reader.credential(node).map(|secret| SigningKey::parse(&secret)) {
            Some(Ok(key)) => signing_keys.push(key),
            Some(Err(message)) => {
                let help = "make one with: echo whsec_$(openssl rand -base64 32)".to_owned();
                reader.secret_error_with(node.id, message, help);
            }
            None => {}
        }
    }
    let sign = entries.node(&sign::SIGN.info).map(|node| sign::read(reader, node, &mut headers));
    let answers = Answers::read(reader, context.answers);
    let digest = match batch_node {
        // What goes out together as it is has no other form for several.
        Some(_) => Some(DigestBody { own: None, is_usual: false, content_type: None }),
        None => digest_body(context, &body, says_content_type, text_escape),
    };
    let client = way::read(context, &mut entries);
    entries.finish();
    let target = target?;
    escape?;
    // A secret that was put into the body comes back in an answer that echoes it.
    let of_proxy = client.as_ref().map(Client::secrets).unwrap_or_default();
    let masks = Masks::new(&headers, target.base()).with(reader.taken()).with(of_proxy);
    let content_masks = Masks::of_content(&headers, target.base()).with(reader.taken());
    own::prepare(&mut headers, !signing_keys.is_empty());
    let sign = match sign {
        Some(sign) => Some(sign?),
        None => None,
    };
    let batch = match batch {
        Some(batch) => Some(batch?),
        None => None,
    };
    Some(Http {
        client: client?,
        method: method?,
        target,
        headers,
        masks,
        content_masks,
        body: body?,
        digest: digest?,
        batch,
        signing_keys,
        sign,
        answers,
        said,
        needs,
        notice: notice?,
    })
}

/// What a digest's body is. `None`: it is wrong, and that has been told.
fn digest_body(
    context: &Context<'_>,
    body: &Option<Body>,
    says_content_type: bool,
    escape: Escape,
) -> Option<DigestBody> {
    let reader = context.reader;
    let node = own_node(context, &KIND);
    let part = |key: &str| node.and_then(|node| node.get(key)).filter(|node| !node.is_null());
    let is_usual = matches!(body, Some(Body::Json(_)));
    let parts = [part(DIGEST_JSON.info.name), part(DIGEST_TEXT.info.name)];
    if let Some(body) = parts.into_iter().flatten().find(|body| says_nothing(body)) {
        let help = format!("say what they are, like json: {}", DIGEST_JSON.info.example);
        reader.warning(body.id, "this body is the same for every digest, and says nothing of its events", help);
    }
    let own = match parts {
        [Some(_), Some(text)] => {
            let help = "take one of them out".to_owned();
            reader.error_with(text.id, "the body of a digest is either `json` or `text`, not both", help);
            return None;
        }
        [None, None] => None,
        parts => Some(body_of_its_own(reader, parts, (escape, Subject::Digest))?),
    };
    if let (Some(node), Some(Body::Shaped(_))) = (node, body) {
        let help = "take `digest` out, or the fields".to_owned();
        let message = "a digest is made of events as they came, so nothing is picked or dropped in it";
        reader.error_with(node.id, message, help);
        return None;
    }
    if let Some(node) = node.filter(|_| own.is_none() && !is_usual && body.is_some()) {
        let what = if matches!(body, Some(Body::Text(_))) { "a text" } else { "an event as it came" };
        let help = "write what several look like: digest: { json: { count: \"{{ digest.count }}\" } }".to_owned();
        reader.error_with(node.id, format!("{what} cannot be put together with others"), help);
        return None;
    }
    let content_type = match &own {
        _ if says_content_type => None,
        Some(Body::Text(_)) => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
        _ => Some(HeaderValue::from_static("application/json")),
    };
    Some(DigestBody { own, is_usual, content_type })
}

/// A body that is no event's, as `json` or as `text`.
fn body_of_its_own(
    reader: &Reader,
    [json, text]: [Option<&Node>; 2],
    (escape, subject): (Escape, Subject),
) -> Option<Body> {
    if let Some(json) = json {
        let keeps_types = escape == Escape::None;
        let options = Options { escape, url_keys: &[], keeps_types, omits_missing: false, subject };
        return Structure::compile(reader, json, options).map(Body::Json);
    }
    let node = text?;
    let compiled = Template::compile_for(reader.text(node)?, escape, subject);
    compiled.map_err(|fault| reader.fault(node.id, fault)).ok().map(Body::Text)
}

fn escape(reader: &Reader, node: &Node) -> Option<Escape> {
    let text = reader.text(node)?;
    match text {
        "html" => Some(Escape::ChatHtml),
        "markdown" => Some(Escape::Markdown),
        _ => {
            let help = did_you_mean(text, ESCAPES).unwrap_or_else(|| "write html or markdown".to_owned());
            reader.error_with(node.id, format!("`{text}` is not how values can be escaped"), help);
            None
        }
    }
}

fn target(reader: &Reader, node: &Node, query: &[(String, String)]) -> Option<Target> {
    let text = reader.text(node)?;
    let fail = |message: String| reader.url_error(node, message);
    let Some(template_at) = ["{{", "{%"].iter().filter_map(|tag| text.find(tag)).min() else {
        let mut url = client::parse_url(text).map_err(fail).ok()?;
        advise(reader, node, &url);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        return Some(Target::Fixed(url));
    };
    // The part before the path must be fixed: an event must not choose the host that it goes to.
    let authority_at = text.find("://").map(|at| at + 3);
    let path_at = authority_at.and_then(|at| text[at..].find(['/', '?', '#']).map(|end| at + end));
    let Some(path_at) = path_at.filter(|at| *at < template_at) else {
        fail("a template may stand in the path or the query of a URL, never in its host".to_owned());
        return None;
    };
    let base = client::parse_url(&text[..path_at]).map_err(fail).ok()?;
    if url_template::has_space(&text[path_at..]) {
        reader.secret_fault(node.id, Fault::with_help(client::SPACE, "write %20 for a space".to_owned()));
        return None;
    }
    advise(reader, node, &base);
    let source = match query {
        [] => text[path_at..].to_owned(),
        query => url_template::with_query(&text[path_at..], &query::encoded(query)),
    };
    let compiled = Template::compile(&source, Escape::Segment);
    let in_the_url = |range: std::ops::Range<usize>| range.start + path_at..range.end + path_at;
    let rest = compiled
        .map_err(|fault| {
            reader.secret_fault(node.id, Fault { within: fault.within.clone().map(in_the_url), ..fault });
        })
        .ok()?;
    let shown = url_template::shown_source(&source);
    let shown = shown.and_then(|source| Template::compile(&source, Escape::Segment).ok());
    Some(Target::Templated(Box::new(Templated { base, source, rest, shown })))
}

/// The name of a variable, as a shell has it, that a text begins with.
fn leading_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    (name.len() > 1 && name.starts_with(|c: char| c.is_ascii_uppercase())).then_some(name)
}

fn advise(reader: &Reader, node: &Node, url: &Url) {
    let written = node.scalar().filter(|scalar| !scalar.is_interpolated).map_or("", |scalar| &scalar.text);
    // A query may have names of its own with the sign (OData's `$filter`), and a template texts.
    let fixed = written.split(['?', '{']).next().unwrap_or_default();
    if let Some(name) = fixed.split('$').skip(1).find_map(leading_name) {
        let message = format!("`${name}` is no variable here: the sign is a part of the URL");
        reader.secret_warning(node.id, message, format!("write ${{{name}}}"));
    }
    exposure::advise_of_plain_http(reader, node.id, url);
    if url.query_pairs().any(|(name, value)| !value.is_empty() && names_a_secret(&name)) {
        reader.note_secret(node);
    }
}

fn method(reader: &Reader, node: &Node) -> Option<Method> {
    let text = reader.text(node)?;
    let found = METHODS.iter().find(|method| **method == text).and_then(|method| method.parse().ok());
    if found.is_none() {
        let upper = METHODS.iter().find(|method| **method == text.trim().to_uppercase());
        let help = upper.map_or_else(|| "write POST, PUT or PATCH".to_owned(), |method| format!("write {method}"));
        reader.error_with(node.id, format!("`{text}` is not a method an event can be sent by"), help);
    }
    found
}

fn body(reader: &Reader, entries: &mut Entries<'_, '_>, headers: &mut HeaderMap, escape: Escape) -> Option<Body> {
    let json = entries.node(&JSON.info);
    let text = entries.node(&TEXT.info);
    let omits_missing = entries.node(&OMIT_MISSING.info).map(|node| (node, reader.boolean(node)));
    if let (Some((node, _)), None) = (omits_missing, json) {
        let help = "write json: with the body's structure, or take `omit_missing` out".to_owned();
        reader.error_with(node.id, "`omit_missing` belongs to `json`, and there is none", help);
    }
    let shaped = shaping::read(reader, entries);
    let other = json.map(|_| JSON.info.name).or(text.map(|_| TEXT.info.name));
    if let (Some(shaped), Some(other)) = (&shaped, other) {
        let help = format!("take `{}` out and write no such field there, or take `{other}` out", shaped.name);
        let message = format!("`{}` is of an event as it came, and `{other}` makes a body anew", shaped.name);
        reader.error_with(shaped.at, message, help);
    }
    match (json, text) {
        (None, None) => Some(shaped.map_or(Body::AsItCame, |shaped| Body::Shaped(shaped.shaping))),
        (Some(json), None) => {
            let omits_missing = omits_missing.and_then(|(_, value)| value).unwrap_or(OMIT_MISSING.default);
            let keeps_types = escape == Escape::None;
            let options = Options { escape, url_keys: &[], keeps_types, omits_missing, subject: Subject::Event };
            Structure::compile(reader, json, options).map(Body::Json)
        }
        (None, Some(node)) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            let compiled = Template::compile(reader.text(node)?, escape);
            compiled.map_err(|fault| reader.fault(node.id, fault)).ok().map(Body::Text)
        }
        (Some(_), Some(node)) => {
            let help = "take one of them out".to_owned();
            reader.error_with(node.id, "a body is either `json` or `text`, not both", help);
            None
        }
    }
}

fn read_headers(reader: &Reader, node: &Node, headers: &mut HeaderMap) {
    let Some(mut entries) = reader.map(node, "`headers`") else { return };
    for (key, value) in entries.rest() {
        if let Some(name) = header_name(reader, key.id, &key.text) {
            if names_a_secret(name.as_str()) {
                reader.note_secret(value);
            }
            let is_harmless = HARMLESS.contains(&name.as_str());
            let is_written_out = value.scalar().is_some_and(|scalar| !scalar.is_interpolated);
            insert_secret(reader, value, headers, name.clone(), "");
            if let Some(value) = headers.get_mut(&name).filter(|_| is_harmless && is_written_out) {
                value.set_sensitive(false);
            }
        }
    }
}

/// A header that a config may set: not one of the protocol's, nor of the relay's own.
fn header_name(reader: &Reader, at: NodeId, text: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|name| !RESERVED.contains(&name.as_str()));
    if name.is_none() {
        let help = match text {
            text if RESERVED.contains(&text.to_lowercase().as_str()) => "take it out: the relay sets it itself",
            _ => "write a name like x-api-key: letters, digits and `-`",
        };
        reader.error_with(at, format!("`{text}` is not a header that can be set here"), help.to_owned());
    }
    name
}

fn read_auth(reader: &Reader, node: &Node, headers: &mut HeaderMap) {
    let Some(mut entries) = reader.map(node, "`auth`") else { return };
    let bearer = entries.node(&BEARER.info);
    let basic = entries.node(&BASIC.info);
    let header = entries.node(&HEADER.info);
    let given = [bearer, basic, header].iter().flatten().count();
    if given != 1 && !(given == 0 && entries.has_unknown()) {
        let help = "write auth: { bearer: \"${CRM_TOKEN}\" }, and no other beside it".to_owned();
        reader.error_with(entries.at(), "`auth` is one of bearer, basic and header", help);
    }
    entries.finish();
    if let Some(node) = bearer {
        reader.note_secret(node);
        let is_twice = |text: &str| text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("Bearer "));
        if node.scalar().is_some_and(|scalar| is_twice(&scalar.text)) {
            let help = "leave that word out".to_owned();
            reader.secret_warning(
                node.id,
                "this begins with the word that the relay puts before it, and the header would hold it twice",
                help,
            );
        }
        insert_secret(reader, node, headers, AUTHORIZATION, "Bearer ");
    }
    if let Some(pair) = basic.and_then(|node| credentials::read_basic(reader, node)) {
        headers.insert(AUTHORIZATION, client::basic_authorization(&pair));
    }
    if let Some(entries) = header.and_then(|node| reader.map(node, "`header`")) {
        let Some([name, value]) = credentials::take_header(entries) else { return };
        if let Some(name) = reader.text(name).and_then(|text| header_name(reader, name.id, text)) {
            reader.note_secret(value);
            insert_secret(reader, value, headers, name, "");
        }
    }
}

fn insert_secret(reader: &Reader, node: &Node, headers: &mut HeaderMap, name: HeaderName, prefix: &str) {
    let Some(secret) = reader.secret(node) else { return };
    if is_template(secret.expose()) {
        let message = "a header is the same for every event";
        let help = "write templates into `json`, `text` or the URL's path".to_owned();
        reader.secret_error_with(node.id, message, help);
        return;
    }
    match HeaderValue::from_str(&format!("{prefix}{}", secret.expose())) {
        Ok(mut value) => {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Err(_) => {
            let help = "a file that ends with a line break is fine; take other line breaks out".to_owned();
            let message = "a header's value cannot hold line breaks or control characters";
            reader.secret_error_with(node.id, message, help);
        }
    }
}

impl Http {
    async fn attempt_one(&self, delivery: &Delivery) -> Outcome {
        match self.call(delivery) {
            Ok(call) => self.sent(call).await,
            Err(unsent) => unsent.into(),
        }
    }

    async fn sent(&self, call: Call) -> Outcome {
        match self.client.call(call).await {
            Ok(answer) if answer.is_loop() => Outcome::reject(
                "508 Loop Detected: the destination leads back to this relay, which had sent this event",
            ),
            Ok(answer) => {
                let rest = || (answer.excerpt(&self.masks), answer.retry_after().or_else(|| self.said.after(&answer)));
                self.answers.outcome_by(self.said.meaning(&answer), answer.status, rest)
            }
            Err(error) => self.unanswered(&error),
        }
    }

    /// No answer came. A part of the host may have come from a variable, in small letters now.
    fn unanswered(&self, error: &NoAnswer) -> Outcome {
        Outcome::retry(self.masks.apply_to_name(error.to_string()))
    }

    /// The exact request of an attempt made now.
    fn call(&self, delivery: &Delivery) -> Result<Call, Unsent> {
        self.made_call(delivery).map_err(|unsent| unsent.masked(&self.content_masks))
    }

    fn made_call(&self, delivery: &Delivery) -> Result<Call, Unsent> {
        if let Some(batch) = &self.batch {
            let member = self.member(batch, delivery)?;
            return Ok(self.call_together(batch, &self.url_of(delivery)?, &[delivery], &[member]));
        }
        let (url, body) = match &delivery.digest {
            Some(digest) => (self.url_of(delivery)?, self.digest.body(delivery, digest)?),
            None => self.url_and_body(delivery)?,
        };
        let content_type = self.digest.content_type.as_ref().filter(|_| delivery.digest.is_some());
        let via = self.client.hops().via(delivery.event.received_ms, &delivery.event.body);
        Ok(self.request(
            url,
            body,
            About { id: &delivery.id(), received_ms: delivery.received_ms(), via, content_type },
        ))
    }

    /// A request with this body.
    fn request(&self, url: Url, body: Bytes, about: About<'_>) -> Call {
        let About { id, received_ms, via, content_type } = about;
        let mut headers = self.headers.clone();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        let timestamp_s = crate::time::wall_ms() / 1000;
        let is_signed = !self.signing_keys.is_empty();
        let signature = is_signed.then(|| sign(&self.signing_keys, &id.to_string(), timestamp_s, &body));
        if let Some(sign) = &self.sign {
            let (id, method) = (&id.to_string(), &self.method);
            sign.insert(&mut headers, sign::Signed { body: &body, timestamp_s, id, method, url: &url });
        }
        own::insert(&mut headers, own::Own { id, received_ms, body: &body, via, timestamp_s, signature });
        Call { method: self.method.clone(), url, headers, body, answer_bytes_max: ANSWER_BYTES_MAX }
    }
}

/// What a request says of what it carries.
struct About<'a> {
    id: &'a dyn std::fmt::Display,
    received_ms: u64,
    /// The relays that it came by.
    via: HeaderValue,
    /// What it is, where that is not what it always is.
    content_type: Option<&'a HeaderValue>,
}

impl Http {
    /// An event as it stands among others.
    fn member(&self, batch: &Batch, delivery: &Delivery) -> Result<Bytes, Unsent> {
        let view = self.reads_event().then(|| View::of_event(delivery));
        let member = self.body_of(delivery, view.as_ref()).and_then(|body| batch.member(delivery, body));
        member.map_err(|unsent| unsent.masked(&self.content_masks))
    }

    /// The request for some deliveries, of which these members were made.
    fn call_together(&self, batch: &Batch, url: &Url, deliveries: &[&Delivery], members: &[Bytes]) -> Call {
        let events = || deliveries.iter().map(|delivery| &delivery.event);
        let received_ms = events().map(|event| event.received_ms).max().unwrap_or_default();
        let via = self.client.hops().via_together(events().map(|event| (event.received_ms, &event.body[..])));
        let id = batch::id(events().map(|event| event.id));
        self.request(url.clone(), batch.body(members), About { id: &id, received_ms, via, content_type: None })
    }

    /// One request for all that can be made of these, and what it comes to for each of them. There is so long for its answer.
    async fn attempt_together(&self, batch: &Batch, deliveries: &[Delivery], timeout: Duration) -> Outcomes {
        let mut outcomes = Outcomes::from_elem(Outcome::Delivered, deliveries.len());
        let mut made = Vec::with_capacity(deliveries.len());
        for (at, delivery) in deliveries.iter().enumerate() {
            if at % MADE_AT_ONCE == MADE_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            made.push(self.member(batch, delivery));
        }
        let made = made.into_iter();
        let (places, members) = batch.together(made, &mut outcomes);
        let together: Vec<&Delivery> = places.iter().map(|place| &deliveries[*place]).collect();
        let Some(first) = together.first() else { return outcomes };
        let outcome = match self.url_of(first) {
            Ok(url) => {
                let sent = self.sent(self.call_together(batch, &url, &together, &members));
                let sent = tokio::time::timeout(timeout, sent).await;
                sent.unwrap_or_else(|_| Outcome::unanswered(timeout))
            }
            Err(unsent) => unsent.into(),
        };
        let outcome = batch::of_each(outcome, places.len());
        for place in places {
            outcomes[place] = outcome.clone();
        }
        outcomes
    }
}

fn written(json: &Json) -> Result<Bytes, String> {
    serde_json::to_vec(json).map(Bytes::from).map_err(|error| format!("the body could not be written: {error}"))
}

impl Body {
    fn is_rendered(&self) -> bool {
        matches!(self, Body::Json(_) | Body::Text(_))
    }

    fn render(&self, view: &View) -> Result<Option<Bytes>, String> {
        Ok(match self {
            Body::Json(structure) => Some(written(&structure.render(view, &mut |text, _| text.render(view, None))?)?),
            Body::Text(template) => Some(Bytes::from(template.render(view, None)?)),
            Body::AsItCame | Body::Shaped(_) => None,
        })
    }
}

impl DigestBody {
    fn body(&self, delivery: &Delivery, digest: &Digest) -> Result<Bytes, String> {
        let own = self.own.as_ref().map(|own| own.render(&View::new(delivery))).transpose()?.flatten();
        own.map_or_else(|| written(&digest.as_json()), Ok)
    }
}

impl Http {
    /// Where a delivery goes: a digest, where its first event goes.
    fn url_of(&self, delivery: &Delivery) -> Result<Url, Unsent> {
        match &self.target {
            Target::Fixed(url) => Ok(url.clone()),
            Target::Templated(templated) => templated.url(&View::of_event(delivery)),
        }
    }

    /// Where a single event goes, and what of it.
    fn url_and_body(&self, delivery: &Delivery) -> Result<(Url, Bytes), Unsent> {
        let needs_view = matches!(self.target, Target::Templated(_)) || self.reads_event();
        let view = needs_view.then(|| View::of_event(delivery));
        let url = match (&self.target, &view) {
            (Target::Fixed(url), _) => url.clone(),
            (Target::Templated(templated), Some(view)) => templated.url(view)?,
            (Target::Templated(_), None) => unreachable!("a template has a view"),
        };
        Ok((url, self.body_of(delivery, view.as_ref())?))
    }

    /// Whether what goes is made of what an event says.
    fn reads_event(&self) -> bool {
        self.body.is_rendered() || !self.needs.is_empty()
    }

    /// What of a single event goes.
    fn body_of(&self, delivery: &Delivery, view: Option<&View>) -> Result<Bytes, Unsent> {
        view.map_or(Ok(()), |view| self.needs.check(view))?;
        let body = match &self.body {
            Body::Shaped(shaping) => Some(shaping.apply(&delivery.event.body).map(Bytes::from)?),
            body => view.map(|view| body.render(view)).transpose()?.flatten(),
        };
        Ok(body.unwrap_or_else(|| delivery.event.body.clone()))
    }

    /// A call's URL, fit to be shown.
    fn shown_url(&self, call: &Call, delivery: &Delivery) -> String {
        match &self.target {
            Target::Templated(templated) if !is_loopback(&templated.base) && templated.shown.is_some() => {
                let shown = templated.shown.as_ref();
                let rest = shown.map(|shown| shown.render(&View::of_event(delivery), None).unwrap_or("/…".to_owned()));
                format!("{}{}", client::shown(&templated.base), rest.unwrap_or_default())
            }
            _ => self.content_masks.apply(client::shown_with_query(&call.url)),
        }
    }
}

impl Destination for Http {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        match &self.batch {
            Some(batch) => self.attempt_together(batch, deliveries, Duration::MAX).boxed(),
            None => one_by_one(deliveries, |delivery| self.attempt_one(delivery)),
        }
    }

    fn attempt_within<'a>(&'a self, deliveries: &'a [Delivery], timeout: Duration) -> BoxFuture<'a, Outcomes> {
        match &self.batch {
            Some(batch) => self.attempt_together(batch, deliveries, timeout).boxed(),
            None => within(timeout, deliveries.len(), self.attempt(deliveries)).boxed(),
        }
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        let call = self.call(delivery)?;
        Ok(Preview::request(&call, self.shown_url(&call, delivery), self.content_masks.clone()))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        self.call(delivery).map(|call| call.body.into())
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        let url = self.url_of(delivery)?;
        let mut way = format!("{} {url}\n{}\n", self.method, self.client.way_text());
        for (name, value) in &self.headers {
            way.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        if !self.signing_keys.is_empty() {
            // The keys do not come out; what they make of nothing tells them apart.
            way.push_str(&sign(&self.signing_keys, "", 0, b""));
        }
        if let Some(sign) = &self.sign {
            way.push_str(&sign.way(&url));
        }
        Ok(Secret::from(way))
    }

    fn teller(&self) -> Result<&dyn Teller, &'static str> {
        self.cannot_tell().map_or(Ok(self as &dyn Teller), Err)
    }

    fn batch_max(&self) -> usize {
        self.batch.as_ref().map_or(1, |batch| batch.batching.max)
    }

    fn batching(&self) -> Option<Batching> {
        self.batch.as_ref().map(|batch| batch.batching)
    }

    fn digests(&self) -> bool {
        self.digest.is_usual || self.digest.own.is_some()
    }

    fn address_of(&self, delivery: &Delivery) -> Option<String> {
        // What has no URL makes a dead letter, whatever it is put together with.
        matches!(self.target, Target::Templated(_)).then(|| self.url_of(delivery).map_or(String::new(), String::from))
    }

    fn is_loopback(&self) -> bool {
        is_loopback(self.target.base())
    }

    fn url(&self) -> Option<(&Url, &str)> {
        Some(match &self.target {
            Target::Fixed(url) => (url, url.path()),
            Target::Templated(templated) => (&templated.base, templated.source.as_str()),
        })
    }

    fn address(&self) -> String {
        self.content_masks.apply(client::shown(self.target.base()))
    }
}

impl Target {
    fn base(&self) -> &Url {
        match self {
            Target::Fixed(url) => url,
            Target::Templated(templated) => &templated.base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::tests::bounces;
    use super::super::sample::{built, sample};
    use super::*;

    const JSON: &str = "{ url: \"http://127.0.0.1:1/{{ user.id }}/x\", json: { who: \"{{ user.email }}\" } }";

    fn http(section: &str, digest: &str) -> Arc<dyn Destination> {
        built("http", section, digest, &Client::direct()).unwrap_or_else(|told| panic!("{told:?}"))
    }

    fn sent(destination: &dyn Destination, delivery: &Delivery) -> (String, serde_json::Value) {
        let preview = destination.preview(delivery).unwrap_or_else(|unsent| panic!("{unsent}"));
        let body = destination.content(delivery).expect("rendered before");
        (preview.title, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    #[track_caller]
    fn refused(section: &str, digest: &str, expected: &str) {
        let told = built("http", section, digest, &Client::direct()).err().unwrap_or_default();
        assert!(told.iter().any(|(message, _)| message.contains(expected)), "{told:?}");
    }

    #[test]
    fn a_digest_is_json_where_the_config_says_nothing_else() {
        let delivery = bounces(1997, 2);
        let (title, body) = sent(&*http(JSON, ""), &delivery);
        assert_eq!(title, "POST http://127.0.0.1:1/0/x", "it goes where its first event goes");
        assert_eq!(body["digest"]["count"], 1997);
        assert_eq!(body["digest"]["left_out"], 1995);
        assert_eq!(body["groups"][0]["values"]["campaign.name"], "Spring <newsletter>");
        assert_eq!(body["groups"][0]["parts"][0], json!({ "value": "hard", "count": 1798 }));
        assert_eq!(body["events"][1]["event"]["user"]["email"], "u1@example.com");
        assert_eq!(body["events"][1]["id"], delivery.digest.as_ref().expect("a digest").events[1].event.id.to_string());
        assert_eq!(sent(&*http(JSON, ""), &delivery.first()).1, json!({ "who": "u0@example.com" }));
    }

    #[test]
    fn a_structure_or_a_text_of_a_config_is_over_the_digest() {
        let own = "{ json: { n: \"{{ digest.count }}\", type: \"{{ type }}\", all: \"{{ digest.events }}\", none: \"{{ user.email }}\" } }";
        let (_, body) = sent(&*http("{ url: \"http://127.0.0.1:1/x\" }", own), &bounces(7, 1));
        assert_eq!((&body["n"], &body["type"]), (&json!(7), &json!("bounced")));
        assert_eq!((&body["all"][0]["user"]["id"], &body["none"]), (&json!(0), &json!(null)));
        let own = "{ text: \"{% for e in digest.events %}{{ e.user.id }} {{ e.relay.rule }},{% endfor %}{{ digest.groups[0].campaign.name }}\" }";
        let http = http("{ url: \"http://127.0.0.1:1/x\", text: \"{{ type }}\" }", own);
        let preview = http.preview(&bounces(7, 2)).expect("renders");
        assert_eq!(preview.exact_content(), "0 everything,1 everything,Spring <newsletter>");
        let header = |name: &str| preview.headers.iter().flatten().find(|(known, _)| known == name).cloned();
        assert_eq!(header("content-type").expect("said").1, "text/plain; charset=utf-8");
    }

    #[test]
    fn who_can_make_one_of_several_says_so_and_who_cannot_says_how() {
        let url = "{ url: \"http://127.0.0.1:1/x\" }";
        assert!(http(JSON, "").digests() && http(JSON, "{ every: 15m }").digests());
        assert!(http(url, "{ json: { a: \"{{ digest.count }}\" } }").digests());
        assert!(!http(url, "").digests() && !http(&url.replace(" }", ", text: x }"), "").digests());
        refused(url, "{ every: 15m }", "an event as it came cannot be put together with others");
        refused(&url.replace(" }", ", text: x }"), "{}", "a text cannot be put together with others");
        refused(JSON, "{ json: {}, text: x }", "either `json` or `text`, not both");
        refused(JSON, "{ blocks: [] }", "`blocks` is of a digest for `slack`, and this is `http`");
        refused(JSON, "{ text: \"{{ digest.count | nope }}\" }", "there is no filter `nope`");
    }

    #[tokio::test]
    async fn a_digest_has_one_id_and_is_signed_by_it_on_each_attempt() {
        const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let seen: Arc<std::sync::Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let keeps = seen.clone();
        let client = Client::scripted(move |call| {
            keeps.lock().expect("the lock").push((call.headers.clone(), call.body.clone()));
            Some(client::Answer { status: 503, headers: HeaderMap::new(), body: Bytes::new() })
        });
        let section = format!("{{ url: \"http://127.0.0.1:1/x\", json: {{}}, signing_secrets: [{SECRET}] }}");
        let http = built("http", &section, "", &client).expect("it is good");
        let delivery = bounces(5, 2);
        for _ in 0..2 {
            http.attempt(std::slice::from_ref(&delivery)).await;
        }
        http.attempt(&[delivery.first()]).await;
        let seen = seen.lock().expect("the lock");
        let text = |at: usize, name: &str| seen[at].0[name].to_str().expect("a text").to_owned();
        let key = SigningKey::parse(&Secret::from(SECRET.to_owned())).expect("a key");
        for at in 0..2 {
            assert_eq!(text(at, "webhook-id"), delivery.digest.as_ref().expect("a digest").id);
            let signed = sign(
                std::slice::from_ref(&key),
                &text(at, "webhook-id"),
                text(at, "webhook-timestamp").parse().expect("a number"),
                &seen[at].1,
            );
            assert_eq!(text(at, "webhook-signature"), signed);
            // The last of its events has come by then.
            assert_eq!(text(at, "x-vero-relay-received-at"), "2015-06-22T23:52:18.000Z");
        }
        assert_eq!(seen[0].1, seen[1].1);
        assert_eq!(text(2, "webhook-id"), delivery.event.id.to_string());
    }

    #[test]
    fn an_event_of_fewer_fields_goes_out_and_is_otherwise_as_it_came() {
        let url = "url: \"http://127.0.0.1:1/{{ user.id }}\"";
        let body = |section: &str| {
            let destination = http(&format!("{{ {url}, {section} }}"), "");
            let delivery = sample(r#"{"type":"sent", "user":{"id":7.50,"email":"a@b.c"},"x":1e400}"#, 0);
            assert!(
                destination.preview(&delivery).expect("it is shown").title.ends_with("/7.50"),
                "the URL is of the event"
            );
            String::from_utf8(destination.content(&delivery).expect("it is made")).expect("UTF-8")
        };
        assert_eq!(body("drop: [user.email]"), r#"{"type":"sent", "user":{"id":7.50},"x":1e400}"#);
        assert_eq!(body("pick: [type, x]"), r#"{"type":"sent","x":1e400}"#);
        assert_eq!(body("mask: user, pick: [user]"), r#"{ "user":"***"}"#);
        let hashed = body("pick: [user.email], hash: [user.email], hash_key: a-pepper-of-twenty-signs");
        assert!(hashed.len() > 80 && !hashed.contains("a@b.c"), "{hashed}");
        refused(&format!("{{ {url}, json: {{}}, drop: [x] }}"), "", "`json` makes a body anew");
        refused(&format!("{{ {url}, drop: [x] }}"), "{ json: {} }", "nothing is picked or dropped in it");
    }

    #[test]
    fn what_is_added_to_a_query_is_encoded_and_leaves_what_is_there() {
        let title = |url: &str| {
            let section = format!("{{ url: \"http://127.0.0.1:1/{url}\", query: {{ wait: \"true\", a b: \"1&2\" }} }}");
            let way = http(&section, "").way(&sample(r#"{"type":"sent","user":{"id":7}}"#, 0)).expect("a way");
            way.expose().lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(title("x"), "POST http://127.0.0.1:1/x?wait=true&a+b=1%262");
        assert_eq!(title("x?key=1"), "POST http://127.0.0.1:1/x?key=1&wait=true&a+b=1%262");
        assert_eq!(title("{{ user.id }}"), "POST http://127.0.0.1:1/7?wait=true&a+b=1%262");
        assert_eq!(title("{{ user.id }}?key=1"), "POST http://127.0.0.1:1/7?key=1&wait=true&a+b=1%262");
        assert_eq!(title("{{ user.id }}#f?"), "POST http://127.0.0.1:1/7?wait=true&a+b=1%262#f?");
        assert_eq!(title("{{ user['#'] | default(user.id) }}"), "POST http://127.0.0.1:1/7?wait=true&a+b=1%262");
    }

    #[tokio::test]
    async fn an_event_that_lacks_what_is_needed_is_not_sent() {
        let client = Client::scripted(|call| {
            assert!(String::from_utf8_lossy(&call.body).contains("7"), "nothing else is sent");
            Some(client::Answer { status: 200, headers: HeaderMap::new(), body: Bytes::new() })
        });
        let section = "{ url: \"http://127.0.0.1:1/x\", needs: { user: { id: \"{{ user.id | string }}\", other: \"{{ user.other }}\" } } }";
        let http = built("http", section, "", &client).unwrap_or_else(|told| panic!("{told:?}"));
        for (body, is_sent) in [
            (r#"{"type":"sent","user":{"id":7}}"#, true),
            (r#"{"type":"sent","user":{"other":"7"}}"#, true),
            (r#"{"type":"sent","user":{"id":"","other":" "}}"#, false),
            (r#"{"type":"sent","user":{"id":null}}"#, false),
            (r#"{"type":"sent"}"#, false),
        ] {
            let outcome = http.attempt(&[sample(body, 0)]).await.remove(0);
            assert_eq!(outcome.is_delivered(), is_sent, "{body}: {outcome:?}");
            assert!(is_sent || outcome.reason().is_some_and(|reason| reason.is_local), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_says_nothing_is_skipped_and_one_by_its_answer_too() {
        let client = Client::scripted(|_| {
            let body = Bytes::from_static(b"{\"status\":\"error\"}");
            Some(client::Answer { status: 404, headers: HeaderMap::new(), body })
        });
        let section = "{ url: \"http://127.0.0.1:1/x\", skip_without: { text: \"{{ user.email }}\" }, outcomes: [{ status: 404, match: { status: error }, outcome: skip }] }";
        let http = built("http", section, "", &client).unwrap_or_else(|told| panic!("{told:?}"));
        for (body, status, expected) in [
            (
                r#"{"type":"sent","user":{"email":" "}}"#,
                None,
                "`text` comes to nothing for this event, so there is nothing to send",
            ),
            (
                r#"{"type":"sent","user":{"email":"a@example.com"}}"#,
                Some(404),
                "404 Not Found, a skip by `outcomes`: {\"status\":\"error\"}",
            ),
        ] {
            let outcome = http.attempt(&[sample(body, 0)]).await.remove(0);
            let Outcome::Skipped { reason } = outcome else { panic!("{outcome:?}") };
            assert_eq!((reason.text.as_str(), reason.status, reason.is_local), (expected, status, status.is_none()));
        }
    }

    #[tokio::test]
    async fn a_notice_is_told_in_the_words_of_the_section_and_escaped_as_events_are() {
        let seen: Arc<std::sync::Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let keeps = seen.clone();
        let client = Client::scripted(move |call| {
            keeps.lock().expect("the lock").push((call.headers.clone(), call.body.clone()));
            Some(client::Answer { status: 200, headers: HeaderMap::new(), body: Bytes::new() })
        });
        let url = "url: \"http://127.0.0.1:1/x\"";
        let notice = super::super::notice::sample();
        for own in [
            "escape: html, notice: { json: { a: \"<b>{{ notice.title }}</b>{{ notice.text }}\", b: 7 } }",
            "notice: { text: \"{{ notice.problems[1].kind }} {{ notice.page | url }}\" }",
            "sign: { header: X-S, secret: a-secret-of-twenty-signs }",
        ] {
            let http =
                built("http", &format!("{{ {url}, {own} }}"), "", &client).unwrap_or_else(|told| panic!("{told:?}"));
            let outcome = http.teller().expect("it can be told").tell(&notice).await;
            assert!(outcome.is_delivered(), "{outcome:?}");
        }
        let seen = seen.lock().expect("the lock");
        let expected = "<b>crm fails\nand one problem is over</b>crm fails: &lt;!channel&gt; 503 &amp; more\n404 &lt;none&gt; (3)\nthe deliveries to crm do not wait that long any more";
        let body: serde_json::Value = serde_json::from_slice(&seen[0].1).expect("JSON");
        assert_eq!(body, json!({ "a": expected, "b": 7 }));
        assert_eq!(&seen[1].1[..], b"backlog_age https://relay.example.com/");
        assert_eq!(seen[1].0[CONTENT_TYPE], "text/plain; charset=utf-8");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-secret-of-twenty-signs");
        let tag = ring::hmac::sign(&key, &seen[2].1);
        assert_eq!(seen[2].0["x-s"].to_str().expect("a text"), crate::event::hex(tag.as_ref()));
        let nobody = http(&format!("{{ {url}, notice: none }}"), "");
        assert!(nobody.teller().is_err_and(|why| why.contains("nobody reads")));
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_shaped_is_not_sent() {
        let client = Client::scripted(|_| panic!("nothing is sent"));
        let section = "{ url: \"http://127.0.0.1:1/x\", drop: [a.b] }";
        let http = built("http", section, "", &client).expect("it is good");
        let deep = format!(r#"{{"type":"sent","a":{}{{"b":1}}{}}}"#, "[".repeat(200), "]".repeat(200));
        let outcomes = http.attempt(&[sample(deep, 0)]).await;
        let reason = outcomes[0].reason().expect("a reason");
        assert!(matches!(outcomes[0], Outcome::Reject { .. }) && reason.is_local, "{outcomes:?}");
        assert!(reason.text.contains("nests deeper than 128 levels"), "{reason}");
    }

    #[tokio::test]
    async fn what_goes_out_is_what_was_signed_and_nobody_is_shown_the_signature() {
        let seen: Arc<std::sync::Mutex<Vec<HeaderMap>>> = Arc::default();
        let keeps = seen.clone();
        let client = Client::scripted(move |call| {
            keeps.lock().expect("the lock").push(call.headers.clone());
            Some(client::Answer { status: 503, headers: HeaderMap::new(), body: Bytes::new() })
        });
        let of = |secret: &str| {
            let sign =
                format!("{{ header: X-S, secret: {secret}, over: \"{{timestamp}}.{{body}}\", timestamp_header: X-T }}");
            let section = format!("{{ url: \"http://127.0.0.1:1/x\", drop: [user.email], sign: {sign} }}");
            built("http", &section, "", &client).unwrap_or_else(|told| panic!("{told:?}"))
        };
        let http = of("a-secret-of-twenty-signs");
        let delivery = sample(r#"{"type":"sent","user":{"email":"a@b.c"}}"#, 0);
        http.attempt(std::slice::from_ref(&delivery)).await;
        let headers = seen.lock().expect("the lock")[0].clone();
        let text = |name: &str| headers[name].to_str().expect("a text").to_owned();
        assert_eq!(text("x-t"), text("webhook-timestamp"), "it is one moment");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-secret-of-twenty-signs");
        let over = format!("{}.{{\"type\":\"sent\",\"user\":{{}}}}", text("x-t"));
        let tag = ring::hmac::sign(&key, over.as_bytes());
        assert_eq!(text("x-s"), tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let preview = http.preview(&delivery).expect("it is shown");
        let shown = preview.headers.iter().flatten().find(|(name, _)| name == "x-s").cloned();
        assert_eq!(shown.expect("the header").1, "…");
        let way = |http: &dyn Destination| http.way(&delivery).expect("a way").expose().to_owned();
        assert_ne!(way(&*http), way(&*of("another-secret-of-20")), "what is sent differs by its key");
    }

    #[test]
    fn only_an_address_that_depends_on_the_event_is_one() {
        let delivery = bounces(5, 2);
        assert_eq!(http(JSON, "").address_of(&delivery.first()).as_deref(), Some("http://127.0.0.1:1/0/x"));
        let fixed = JSON.replace("{{ user.id }}/", "");
        assert_eq!(http(&fixed, "").address_of(&delivery.first()), None);
    }
}
