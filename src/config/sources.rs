//! `sources:`: the ways in, and how each proves that it is Vero who calls.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

use super::advice;
use crate::secret::Secret;
use crate::yaml::credentials;
use crate::yaml::keys::{Key, Of, Section, by_hand, duration, form, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::words::variable_name;

/// A shorter token on a listener that strangers reach can be guessed.
pub const TOKEN_CHARACTERS_MIN: usize = 16;
/// And a longer one makes nothing safer.
pub(super) const TOKEN_CHARACTERS_MAX: usize = 256;
/// How to have a good one.
pub(super) const SECRET_HELP: &str = "make one with: openssl rand -hex 24";

/// Bytes of a header that is looked at as a credential: a stranger should not have more hashed for each request.
pub const CREDENTIAL_BYTES_MAX: usize = 8 << 10;

/// What is shorter is the pause between two events, and what is longer nobody notices.
const EXPECTED: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 60 * 60);

/// What is shorter catches no sender that tries again, and what is longer takes more memory than it is worth: senders give up within a day, and the events of the time are read
/// back at each start.
pub(super) const DEDUPE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// A way in.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, which stands in its URL.
    pub name: String,
    /// How it proves itself.
    pub auth: Auth,
    /// How long it is silent at most, where it says so.
    pub expect_every: Option<Duration>,
    /// Within so long the same event is the same again; `None`: each is another.
    pub dedupe: Option<Duration>,
}

impl Source {
    /// The tokens that stand in its URLs.
    pub(super) fn tokens(&self) -> &[Secret] {
        if let Auth::Token(tokens) = &self.auth { tokens } else { &[] }
    }
}

/// How a source proves itself.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A token in the URL: `/hooks/SOURCE/TOKEN`. Several while rotating.
    Token(Vec<Secret>),
    /// Basic authentication: `username:password`.
    Basic(Secret),
    /// A header with a value that only Vero knows.
    Header { name: http::HeaderName, value: Secret },
}

const TOKEN: Key<String> = key("token", form("^[A-Za-z0-9._~-]{1,256}$", "secret"))
    .about_made(|| {
        format!("The token in `/hooks/SOURCE/TOKEN`: letters, digits, `-`, `_`, `.` and `~`, at most 256, and at least {TOKEN_CHARACTERS_MIN} unless `listen` is loopback, since a shorter one can be guessed. No two sources share one.")
    })
    .example("\"${VERO_TOKEN}\"");
const TOKENS: Key<()> = key("tokens", by_hand(Of::Secrets))
    .about("Several tokens, all taken, while one replaces the other.")
    .example("[\"${NEW_TOKEN}\", \"${OLD_TOKEN}\"]");
const AUTH: Key<()> = key("auth", by_hand(Of::Map(auth_keys)))
    .about("Proof in a header in place of a token in the URL.")
    .example("{ header: { name: X-Vero-Key, value: \"${VERO_KEY}\" } }");
const BASIC: Key<()> = key("basic", by_hand(Of::Map(credentials::basic_keys)))
    .about("Basic authentication; the URL is then `/hooks/SOURCE`.")
    .example("{ username: vero, password: \"${VERO_PASSWORD}\" }");
const HEADER: Key<()> = key("header", by_hand(Of::Map(|| credentials::header_keys("X-Vero-Key"))))
    .about("A header with a value that only Vero knows.")
    .example("{ name: X-Vero-Key, value: \"${VERO_KEY}\" }");

pub(super) const EXPECT_EVERY: Key<Duration> = key("expect_every", duration(EXPECTED))
    .about("The longest silence of a source whose events never stop: when nothing was accepted for longer while the relay ran, those whom `notify` names are told. Longer than its quietest night.")
    .example("1h")
    .otherwise("any silence is fine")
    .never_empty();

const DEDUPE_KEY: Key<Duration> = key("dedupe", duration(DEDUPE))
    .about("The same event again within so long is answered with the first one's id, and goes nowhere: see [Events that come twice](connect-vero.md#events-that-come-twice). With `store.postgres` each relay goes by what it took in itself, and by what all had taken in when it started.")
    .example("10m")
    .otherwise("each is another event")
    .never_empty();

/// Keys of a source, and below, on whose line a secret may stand whatever their names say.
pub(super) const SOURCE_SECRET_KEYS: [&str; 3] = [BASIC.info.name, HEADER.info.name, "value"];

/// The keys of a source.
pub(super) fn keys() -> Section {
    Section::of(&[TOKEN.info, TOKENS.info, AUTH.info, EXPECT_EVERY.info, DEDUPE_KEY.info])
        .one_of(&[TOKEN.info.name, TOKENS.info.name, AUTH.info.name])
        .besides(json!({ "properties": { TOKENS.info.name: { "minItems": 1 } } }))
}

fn auth_keys() -> Section {
    Section::of(&[BASIC.info, HEADER.info]).one_of(&[BASIC.info.name, HEADER.info.name])
}

/// Reads all sources. On a public listener tokens must be long.
pub(super) fn read(reader: &Reader, node: &Node, is_public: bool) -> Option<Vec<Source>> {
    let mut entries = reader.map(node, "`sources`")?;
    let mut sources = Vec::<Source>::new();
    let mut is_complete = true;
    // By whom each is used: in the form of a digest, which can neither be shown nor read back.
    let mut secrets: HashMap<[u8; 32], String> = HashMap::new();
    let all = entries.rest();
    if all.is_empty() {
        let help = "write sources: { vero: { token: \"${VERO_TOKEN}\" } }".to_owned();
        reader.error_with(node.id, "there is no source, so nothing could come in", help);
        return None;
    }
    for (key, node) in all {
        if !super::is_name(&key.text) {
            super::tell_of_name(reader, key);
        }
        let read = read_source(reader, &key.text, node, is_public);
        let plain = reader.take_plain();
        match read {
            Some(source) => {
                // Where it would tell a stranger what a value is, nothing is compared with it.
                let compared = if reader.would_tell(node) { Vec::new() } else { secrets_of(&source) };
                let shared = compared.into_iter().find_map(|secret| {
                    let first = secrets.entry(secret).or_insert_with(|| key.text.clone());
                    (*first != key.text).then(|| first.clone())
                });
                if let Some(other) = shared {
                    let message = format!("the sources `{other}` and `{}` have the same token", key.text);
                    reader.error_with(key.id, message, "give each its own, so that one can be taken back".to_owned());
                }
                // `try-me` on this machine only is no secret.
                let is_secret = |characters: usize| is_public || characters >= TOKEN_CHARACTERS_MIN;
                let plain = plain.into_iter().filter(|(_, characters)| is_secret(*characters)).map(|(at, _)| at);
                advice::exposure::advise_of_plain_secrets(reader, plain);
                sources.push(source);
            }
            None => is_complete = false,
        }
    }
    is_complete.then_some(sources)
}

/// What two sources cannot have both, each with how it is used.
fn secrets_of(source: &Source) -> Vec<[u8; 32]> {
    let digest = |how: &str, secret: &Secret| super::digest_of(format!("{how} {}", secret.expose()).as_bytes());
    match &source.auth {
        Auth::Token(tokens) => tokens.iter().map(|token| digest("token", token)).collect(),
        Auth::Basic(pair) => vec![digest("basic", pair)],
        Auth::Header { value, .. } => vec![digest("header", value)],
    }
}

fn read_source(reader: &Reader, name: &str, node: &Node, is_public: bool) -> Option<Source> {
    let what = format!("the source `{name}`");
    let mut entries = reader.map(node, &what)?;
    let token = entries.node(&TOKEN.info);
    let tokens = entries.node(&TOKENS.info);
    let auth = entries.node(&AUTH.info);
    let expect_every = entries.read(&EXPECT_EVERY);
    let dedupe = entries.read(&DEDUPE_KEY);
    let at = entries.at();
    let has_unknown = entries.has_unknown();
    entries.finish();
    let given = [token, tokens, auth].iter().flatten().count();
    if given == 0 && has_unknown {
        return None;
    }
    if given != 1 {
        let problem = if given == 0 { "has no token" } else { "proves itself in two ways" };
        let help = "give it `token:`, or `tokens:` while rotating, or `auth:` with basic or header".to_owned();
        reader.error_with(at, format!("{what} {problem}"), help);
        return None;
    }
    let auth = match auth {
        Some(node) => read_auth(reader, node)?,
        None => {
            let node = token.or(tokens)?;
            let nodes = reader.list(node);
            if nodes.is_empty() {
                let message = format!("{what} has an empty list of tokens, so nothing could come in");
                reader.error_with(node.id, message, "write tokens: [\"${VERO_TOKEN}\"]".to_owned());
                return None;
            }
            let read: Vec<_> = nodes.iter().map(|node| read_token(reader, node, is_public)).collect();
            Auth::Token(read.into_iter().collect::<Option<_>>()?)
        }
    };
    Some(Source { name: name.to_owned(), auth, expect_every, dedupe })
}

fn read_token(reader: &Reader, node: &Node, is_public: bool) -> Option<Secret> {
    let secret = reader.credential(node)?;
    let text = secret.expose();
    if let Some(name) = node.scalar().filter(|scalar| !scalar.is_interpolated).and_then(|_| variable_name(text)) {
        let message = format!("`{name}` is no variable as it stands here");
        reader.secret_error_with(node.id, message, format!("write \"${{{name}}}\""));
        return None;
    }
    let is_segment = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    if !text.chars().all(is_segment) || text.len() > TOKEN_CHARACTERS_MAX {
        let message = "a token stands in a URL: letters, digits, `-`, `_`, `.` and `~`, at most 256";
        reader.secret_error_with(node.id, message, SECRET_HELP.to_owned());
        return None;
    }
    if is_public && text.chars().count() < TOKEN_CHARACTERS_MIN {
        let message = format!("on a listener that is not loopback a token needs {TOKEN_CHARACTERS_MIN} characters");
        reader.secret_error_with(node.id, message, SECRET_HELP.to_owned());
        return None;
    }
    Some(secret)
}

/// Whether a header with so many bytes would be looked at; if not, that is told.
fn is_short_enough(reader: &Reader, node: &Node, bytes: usize) -> bool {
    if bytes > CREDENTIAL_BYTES_MAX {
        let message = format!("the header would have {bytes} bytes, and a credential may have {CREDENTIAL_BYTES_MAX}");
        reader.secret_error_with(node.id, message, "make a shorter one with: openssl rand -hex 24".to_owned());
    }
    bytes <= CREDENTIAL_BYTES_MAX
}

fn read_auth(reader: &Reader, node: &Node) -> Option<Auth> {
    let mut entries = reader.map(node, "`auth`")?;
    let basic = entries.node(&BASIC.info);
    let header = entries.node(&HEADER.info);
    let at = entries.at();
    let has_unknown = entries.has_unknown();
    entries.finish();
    match (basic, header) {
        (None, None) if has_unknown => None,
        (Some(node), None) => {
            let pair = credentials::read_basic(reader, node)?;
            let encoded = "Basic ".len() + pair.expose().len().div_ceil(3) * 4;
            is_short_enough(reader, node, encoded).then_some(Auth::Basic(pair))
        }
        (None, Some(node)) => {
            let [name, value_at] = credentials::take_header(reader.map(node, "`header`")?)?;
            let value = reader.credential(value_at)?;
            if !is_short_enough(reader, value_at, value.expose().len()) {
                return None;
            }
            match http::HeaderName::from_bytes(reader.text(name)?.as_bytes()) {
                Ok(name) => Some(Auth::Header { name, value }),
                Err(_) => {
                    let help = "write a name like X-Vero-Token, without the colon".to_owned();
                    reader.error_with(name.id, "this is not the name of a header", help);
                    None
                }
            }
        }
        _ => {
            let help =
                "write auth: { header: { name: X-Vero-Token, value: \"${VERO_TOKEN}\" } }, or auth: { basic: … }";
            reader.error_with(at, "`auth` is either basic or header", help.to_owned());
            None
        }
    }
}
