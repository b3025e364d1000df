//! Which source a request comes from, and whether it can prove it.
//!
//! Every configured credential is compared, without an early exit and in constant time, so that neither a name nor a part of a token can
//! be found out by how long a refusal takes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use ring::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

use crate::config::{Auth, CREDENTIAL_BYTES_MAX, Source};

/// All sources and their credentials.
#[derive(Debug)]
pub struct Authenticator {
    credentials: Vec<Credential>,
    /// Headers that hold a credential, each once.
    headers: Vec<HeaderName>,
    has_basic: bool,
}

#[derive(Debug)]
struct Credential {
    source: usize,
    kind: CredentialKind,
    /// The source's name and the secret, hashed, so that all are of one length and none lies in memory as it is.
    hash: [u8; 32],
}

#[derive(Debug)]
enum CredentialKind {
    Token,
    Basic,
    /// By its place among the authenticator's headers.
    Header(usize),
}

impl Authenticator {
    /// A authenticator for the sources of a config.
    pub fn new(sources: &[Source]) -> Self {
        let mut credentials = Vec::new();
        let mut headers = Vec::<HeaderName>::new();
        for (at, source) in sources.iter().enumerate() {
            let mut add = |kind, secret: &str| {
                credentials.push(Credential {
                    source: at,
                    kind,
                    hash: hash(source.name.as_bytes(), secret.as_bytes()),
                });
            };
            match &source.auth {
                Auth::Token(tokens) => tokens.iter().for_each(|token| add(CredentialKind::Token, token.expose())),
                Auth::Basic(pair) => add(CredentialKind::Basic, pair.expose()),
                Auth::Header { name, value } => {
                    let at = headers.iter().position(|known| known == name).unwrap_or_else(|| {
                        headers.push(name.clone());
                        headers.len() - 1
                    });
                    add(CredentialKind::Header(at), value.expose());
                }
            }
        }
        let has_basic = credentials.iter().any(|credential| matches!(credential.kind, CredentialKind::Basic));
        Self { credentials, headers, has_basic }
    }

    /// The source of a request to `/hooks/SOURCE` or `/hooks/SOURCE/TOKEN`. What follows does not matter: Vero 2.0 wants a URL for
    /// each event type. Each step of the path is percent-decoded, once.
    pub fn authenticate(&self, path: &str, headers: &HeaderMap) -> Option<usize> {
        let mut steps = path.strip_prefix('/')?.split('/').map(decoded);
        let hooks = steps.next()?;
        let source = steps.next()?;
        let token = steps.next().unwrap_or_default();
        if *hooks != *b"hooks" || source.contains(&b'/') {
            return None;
        }
        let token = hash(&source, &token);
        let basic = if self.has_basic { hash(&source, &basic(headers)) } else { [0; 32] };
        let in_header = |name| hash(&source, headers.get(name).map(credential_in).unwrap_or_default());
        let in_headers: Vec<_> = self.headers.iter().map(in_header).collect();
        let mut source = None;
        for credential in &self.credentials {
            let given = match credential.kind {
                CredentialKind::Token => token,
                CredentialKind::Basic => basic,
                CredentialKind::Header(at) => in_headers[at],
            };
            if bool::from(given.ct_eq(&credential.hash)) {
                source = Some(credential.source);
            }
        }
        source
    }
}

/// The source that a path names, whether or not the request proves to come from it. It is told to nobody who asks.
pub fn named<'s>(path: &str, sources: &'s [Source]) -> Option<&'s str> {
    let mut steps = path.strip_prefix('/')?.split('/').map(decoded);
    let (hooks, source) = (steps.next()?, steps.next()?);
    let known = sources.iter().find(|known| *hooks == *b"hooks" && *source == *known.name.as_bytes());
    known.map(|known| known.name.as_str())
}

/// Nearly no step has anything to decode, and each request has some.
fn decoded(step: &str) -> Cow<'_, [u8]> {
    if step.contains('%') { percent_decode_str(step).into() } else { step.as_bytes().into() }
}

/// A name holds no slash, so no two pairs run together.
fn hash(name: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(name);
    context.update(b"/");
    context.update(secret);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a header says, or nothing where it says too much.
fn credential_in(value: &HeaderValue) -> &[u8] {
    Some(value.as_bytes()).filter(|value| value.len() <= CREDENTIAL_BYTES_MAX).unwrap_or_default()
}

/// `username:password` of basic authentication, empty if there is none.
fn basic(headers: &HeaderMap) -> Vec<u8> {
    let value = headers.get(http::header::AUTHORIZATION).map(credential_in).unwrap_or_default();
    let is_basic = value.len() > 6 && value[..6].eq_ignore_ascii_case(b"basic ");
    if is_basic { STANDARD.decode(value[6..].trim_ascii()).unwrap_or_default() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn authenticator() -> Authenticator {
        let secret = |text: &str| Secret::from(text.to_owned());
        let source = |name: &str, auth| Source { name: name.to_owned(), auth, expect_every: None, dedupe: None };
        Authenticator::new(&[
            source("vero", Auth::Token(vec![secret("new"), secret("old")])),
            source("basic", Auth::Basic(secret("user:pass"))),
            source("header", Auth::Header { name: HeaderName::from_static("x-key"), value: secret("k") }),
        ])
    }

    #[track_caller]
    fn check(path: &str, header: Option<(&'static str, &'static str)>, expected: Option<usize>) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/hooks/{path}") };
        assert_eq!(authenticator().authenticate(&path, &headers), expected, "{path} {header:?}");
    }

    #[test]
    fn each_step_of_the_path_is_decoded_once() {
        check("vero/n%65w", None, Some(0));
        check("vero/%6e%65%77", None, Some(0));
        check("v%65ro/new", None, Some(0));
        check("/%68ooks/vero/new", None, Some(0));
        check("vero/n%2565w", None, None);
        check("vero/n%65", None, None);
        check("vero/n%6", None, None);
        check("vero/ne%77%00", None, None);
        check("vero%2Fnew", None, None);
        check("vero%2Fnew/", None, None);
        check("//hooks/vero/new", None, None);
        check("/hooks//vero/new", None, None);
        check("/hook/vero/new", None, None);
        check("/HOOKS/vero/new", None, None);
        check("/hooks", None, None);
        check("/", None, None);
    }

    #[test]
    fn a_header_that_is_too_long_for_a_proof_is_none() {
        let long = |length: usize| Secret::from("k".repeat(length));
        let authenticator = |length| {
            let auth = Auth::Header { name: HeaderName::from_static("x-key"), value: long(length) };
            let authenticator =
                Authenticator::new(&[Source { name: "a".to_owned(), auth, expect_every: None, dedupe: None }]);
            let value = HeaderValue::from_str(long(length).expose()).expect("a value");
            authenticator.authenticate("/hooks/a", &HeaderMap::from_iter([(HeaderName::from_static("x-key"), value)]))
        };
        assert_eq!((authenticator(CREDENTIAL_BYTES_MAX), authenticator(CREDENTIAL_BYTES_MAX + 1)), (Some(0), None));
    }

    #[test]
    fn only_the_right_proof_of_the_right_source_is_admitted() {
        check("vero/new", None, Some(0));
        check("vero/old", None, Some(0));
        check("vero/new/", None, Some(0));
        check("vero/new/bounced", None, Some(0));
        check("vero/newer", None, None);
        check("vero/ne", None, None);
        check("vero/", None, None);
        check("vero", None, None);
        check("", None, None);
        check("other/new", None, None);
        check("basic/new", None, None);
        check("basic", Some(("authorization", "Basic dXNlcjpwYXNz")), Some(1));
        check("basic/anything", Some(("authorization", "basic dXNlcjpwYXNz")), Some(1));
        check("basic", Some(("authorization", "Basic dXNlcjpwYXNzZQ==")), None);
        check("basic", Some(("authorization", "Bearer dXNlcjpwYXNz")), None);
        check("basic", Some(("authorization", "Basic")), None);
        check("vero", Some(("authorization", "Basic dXNlcjpwYXNz")), None);
        check("header", Some(("x-key", "k")), Some(2));
        check("header", Some(("x-key", "")), None);
        check("header", None, None);
    }
}
