//! Which source a request comes from, and whether it can prove it.
//!
//! Every configured proof is compared, without an early exit and in constant time, so that neither a name nor a part of a token can
//! be found out by how long a refusal takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use ring::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

use crate::config::{Auth, Source};

/// All sources and their proofs.
#[derive(Debug)]
pub struct Gate {
    proofs: Vec<Proof>,
}

#[derive(Debug)]
struct Proof {
    source: usize,
    kind: ProofKind,
    /// The source's name and the secret, hashed, so that all are of one length and none lies in memory as it is.
    hash: [u8; 32],
}

#[derive(Debug)]
enum ProofKind {
    Token,
    Basic,
    Header(HeaderName),
}

impl Gate {
    /// A gate for the sources of a config.
    pub fn new(sources: &[Source]) -> Self {
        let mut proofs = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let mut add = |kind, secret: &str| {
                proofs.push(Proof { source: at, kind, hash: hash(&source.name, secret.as_bytes()) });
            };
            match &source.auth {
                Auth::Token(tokens) => tokens.iter().for_each(|token| add(ProofKind::Token, token.expose())),
                Auth::Basic(pair) => add(ProofKind::Basic, pair.expose()),
                Auth::Header { name, value } => add(ProofKind::Header(name.clone()), value.expose()),
            }
        }
        Self { proofs }
    }

    /// The source of a request to `/hooks/` and `tail`. What follows the source, and its token if it has one, does not matter:
    /// Vero 2.0 wants a URL for each event type.
    pub fn admit(&self, tail: &str, headers: &HeaderMap) -> Option<usize> {
        let mut steps = tail.split('/');
        let (source, token) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
        let token = hash(source, token.as_bytes());
        let mut admitted = None;
        for proof in &self.proofs {
            let given = match &proof.kind {
                ProofKind::Token => token,
                ProofKind::Basic => hash(source, &basic(headers)),
                ProofKind::Header(name) => {
                    hash(source, headers.get(name).map(|value| value.as_bytes()).unwrap_or_default())
                }
            };
            if bool::from(given.ct_eq(&proof.hash)) {
                admitted = Some(proof.source);
            }
        }
        admitted
    }
}

/// A name holds no slash, so no two pairs run together.
fn hash(name: &str, secret: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(b"/");
    context.update(secret);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// `username:password` of basic authentication, empty if there is none.
fn basic(headers: &HeaderMap) -> Vec<u8> {
    let value = headers.get(http::header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let is_basic = value.len() > 6 && value[..6].eq_ignore_ascii_case(b"basic ");
    if is_basic { STANDARD.decode(value[6..].trim_ascii()).unwrap_or_default() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reader::Secret;

    fn gate() -> Gate {
        let secret = |text: &str| Secret::from(text.to_owned());
        let source = |name: &str, auth| Source { name: name.to_owned(), auth };
        Gate::new(&[
            source("vero", Auth::Token(vec![secret("new"), secret("old")])),
            source("basic", Auth::Basic(secret("user:pass"))),
            source("header", Auth::Header { name: HeaderName::from_static("x-key"), value: secret("k") }),
        ])
    }

    #[track_caller]
    fn check(tail: &str, header: Option<(&'static str, &'static str)>, expected: Option<usize>) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        assert_eq!(gate().admit(tail, &headers), expected, "{tail} {header:?}");
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
