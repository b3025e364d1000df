//! What must not be shown of what is sent and of what comes back.

use base64::Engine as _;
use http::HeaderMap;

use super::{Url, is_loopback};
use crate::secret::names_a_secret;
use crate::spelled::{self, Letters};

/// What must not come back out of an answer that echoes the request: credentials, and the parts of a URL that may be one.
#[derive(Clone, Default)]
pub struct Masks(Vec<String>);

/// Shorter texts are no secrets, and would be found everywhere.
const MASKED_BYTES_MIN: usize = 6;
/// In what is sent, a part of a URL, or a header that does not sound like a secret, is taken for one only from here on: `customers`
/// is a word of many events.
const MASKED_IN_CONTENT_BYTES_MIN: usize = 16;

impl Masks {
    /// The masks for an answer to a request with these headers and this URL.
    pub fn new(headers: &HeaderMap, url: &Url) -> Self {
        Self::from_texts(credentials(headers, |_| true).into_iter().chain(parts(url)))
    }

    /// The masks for what is sent with these headers to this URL.
    pub fn of_content(headers: &HeaderMap, url: &Url) -> Self {
        let is_long = |text: &String| text.len() >= MASKED_IN_CONTENT_BYTES_MIN;
        let others = credentials(headers, |name| !names_a_secret(name)).into_iter().chain(parts(url));
        Self::from_texts(credentials(headers, names_a_secret).into_iter().chain(others.filter(is_long)))
    }

    /// Masks for some texts.
    pub fn from_texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self(Vec::new()).with(texts)
    }

    /// The same, and some more texts.
    pub fn with(self, texts: impl IntoIterator<Item = String>) -> Self {
        let mut all = self.0;
        all.extend(texts.into_iter().filter(|text| text.len() >= MASKED_BYTES_MIN));
        all.sort();
        all.dedup();
        Self(all)
    }

    /// A text without them, however it spells them.
    pub fn apply(&self, text: String) -> String {
        self.apply_in(text, Letters::Same)
    }

    /// The same of a name that is written in small letters, whatever it was made of: of a header or a host.
    pub fn apply_to_name(&self, name: String) -> String {
        self.apply_in(name, Letters::Any)
    }

    fn apply_in(&self, text: String, letters: Letters) -> String {
        if self.0.is_empty() {
            return text;
        }
        let kept = spelled::without(&self.0, text.as_bytes(), usize::MAX, letters);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// What the sensitive headers among some hold: whole, without its scheme, and decoded.
fn credentials(headers: &HeaderMap, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut texts = Vec::new();
    for (_, value) in headers.iter().filter(|(name, value)| value.is_sensitive() && is_meant(name.as_str())) {
        if let Ok(value) = value.to_str() {
            texts.push(value.to_owned());
            // Without the scheme before it.
            texts.extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
        }
    }
    let basic = texts.iter().filter_map(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let basic: Vec<_> = basic.filter_map(|pair| String::from_utf8(pair).ok()).collect();
    for pair in basic {
        texts.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
        texts.push(pair);
    }
    texts
}

/// The parts of a URL that may be a password.
fn parts(url: &Url) -> Vec<String> {
    let mut texts = Vec::new();
    if !is_loopback(url) {
        texts.push(url.path().trim_start_matches('/').to_owned());
        texts.extend(url.path().split('/').map(str::to_owned));
    }
    texts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let raw = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    texts.extend(raw.map(|(_, value)| value.to_owned()));
    texts
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::parse_url;
    use super::*;

    #[test]
    fn an_answer_that_echoes_the_request_gives_no_secret_away() {
        let mut headers = HeaderMap::new();
        let mut value = HeaderValue::from_static("Bearer s3cret-token");
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = parse_url("https://hooks.example.com/services/T000/B000/XXXXXXXX?key=abcdefgh").expect("a URL");
        let said =
            "no: Bearer s3cret-token, s3cret-token, /services/T000/B000/XXXXXXXX, XXXXXXXX, abcdefgh; application/json";
        let masked = Masks::new(&headers, &url).apply(said.to_owned());
        assert_eq!(masked, "no: …, …, /…, …, …; application/json");
    }

    #[test]
    fn an_answer_that_escapes_what_it_echoes_gives_no_secret_away() {
        let mut headers = HeaderMap::new();
        let mut value = HeaderValue::from_static(r#"ab/cd"ef\gh+ij kl"#);
        value.set_sensitive(true);
        headers.insert("x-key", value);
        let url = parse_url("https://hooks.example.com/services/T000/B000/XXXXXXXX?key=q%2Fq%20qqqq").expect("a URL");
        let masks = Masks::new(&headers, &url);
        for said in [
            r#"ab\/cd\"ef\\gh+ij kl"#,
            r#"ab/cd\"ef\\gh\u002bij kl"#,
            "ab%2Fcd%22ef%5Cgh%2Bij+kl",
            r#"ab/cd&quot;ef\gh+ij kl"#,
            r"services\/T000\/B000\/XXXXXXXX",
            "services%2FT000%2FB000%2FXXXXXXXX",
            r"q\/q qqqq",
            "q%2fq+qqqq",
        ] {
            assert_eq!(masks.apply(format!("no: {said}.")), "no: ….", "{said}");
        }
    }

    #[test]
    fn what_is_sent_keeps_its_words_and_gives_no_secret_away() {
        let mut headers = HeaderMap::new();
        for (name, text) in
            [("authorization", "Bearer s3cret"), ("x-team", "growth"), ("x-who", "a-long-text-that-may-be-one")]
        {
            let mut value = HeaderValue::from_static(text);
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let url = parse_url("https://crm.example.com/customers/XXXXXXXXXXXXXXXXXXXXXXXX?format=ndjson").expect("a URL");
        let taken = ["taken-from-outside", "short", "two\nlines & more"].map(str::to_owned);
        let masks = Masks::of_content(&headers, &url).with(taken);
        let sent = "growth customers ndjson short s3cret a-long-text-that-may-be-one XXXXXXXXXXXXXXXXXXXXXXXX taken-from-outside";
        assert_eq!(masks.apply(sent.to_owned()), "growth customers ndjson short … … … …");
        assert_eq!(
            masks.apply(r#"{"a":"two\nlines & more","b":"two\nlines &amp; more"}"#.to_owned()),
            r#"{"a":"…","b":"…"}"#
        );
    }
}
