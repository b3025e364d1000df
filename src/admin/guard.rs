//! Who may ask: programs on this machine, and no web page.
//!
//! A page in the operator's browser could call a listener on loopback. So the Host header must be one of this machine's names (a page that
//! has rebound its own name to loopback sends its own), a request that the browser marks as another site's gets nothing, and what changes
//! something needs the header [`WRITE_HEADER`], which a foreign page cannot send.

use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};

use super::WRITE_HEADER;
use crate::listener::{Answer, answer};

/// The names and origins of the admin listener.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub(super) fn new(address: SocketAddr) -> Self {
        let port = address.port();
        let own = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let names = [own, "localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        let with_port = |name: &String| format!("{name}:{port}");
        let mut origins: Vec<_> = names.iter().map(|name| format!("http://{}", with_port(name))).collect();
        if port == 80 {
            origins.extend(names.iter().map(|name| format!("http://{name}")));
        }
        Self { hosts: names.iter().flat_map(|name| [with_port(name), name.clone()]).collect(), origins }
    }

    /// The answer to who may not ask.
    pub(super) fn refusal(&self, headers: &HeaderMap) -> Option<Answer> {
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is_among(host, &self.hosts) {
            let why = "this listener answers only to the names of this machine";
            return Some(answer(StatusCode::MISDIRECTED_REQUEST, why));
        }
        if self.is_foreign(headers) {
            return Some(answer(StatusCode::FORBIDDEN, "web pages of other sites get nothing from this listener"));
        }
        None
    }

    /// The answer to who may not change anything.
    pub(super) fn refusal_to_change(&self, headers: &HeaderMap) -> Option<Answer> {
        self.refusal(headers).or_else(|| {
            let why = format!("what changes something needs the header {WRITE_HEADER}: 1");
            (!headers.contains_key(WRITE_HEADER)).then(|| answer(StatusCode::FORBIDDEN, &why))
        })
    }

    /// Whether a browser says that another site's page asks. Programs say nothing of the sort.
    fn is_foreign(&self, headers: &HeaderMap) -> bool {
        let all = |name: &str, is_ours: &dyn Fn(&str) -> bool| {
            headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(is_ours))
        };
        let is_own_site = all("sec-fetch-site", &|site| matches!(site, "same-origin" | "none"));
        let is_own_origin = all("origin", &|origin| is_among(origin, &self.origins));
        !(is_own_site && is_own_origin)
    }
}

fn is_among(text: &str, known: &[String]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(address: &str, headers: &[(&'static str, &str)], expected: Option<u16>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let refusal = Guard::new(address.parse().expect("an address")).refusal(&map);
        assert_eq!(refusal.map(|refusal| refusal.status().as_u16()), expected, "{address} {headers:?}");
    }

    #[test]
    fn programs_and_the_listeners_own_pages_are_let_in_and_other_sites_are_not() {
        let host = ("host", "127.0.0.1:8081");
        let at = "127.0.0.1:8081";
        check(at, &[host], None);
        check(at, &[("host", "localhost:8081")], None);
        check(at, &[("host", "LOCALHOST")], None);
        check(at, &[("host", "evil.example:8081")], Some(421));
        check(at, &[("host", "localhost:8082")], Some(421));
        check(at, &[], Some(421));
        check(at, &[host, ("sec-fetch-site", "none")], None);
        check(at, &[host, ("sec-fetch-site", "same-origin")], None);
        check(at, &[host, ("sec-fetch-site", "same-site")], Some(403));
        check(at, &[host, ("sec-fetch-site", "cross-site")], Some(403));
        check(at, &[host, ("sec-fetch-site", "something new")], Some(403));
        check(at, &[host, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Some(403));
        check(at, &[host, ("origin", "http://localhost:8081")], None);
        check(at, &[host, ("origin", "http://127.0.0.1:8081")], None);
        check(at, &[host, ("origin", "http://localhost:8080")], Some(403));
        check(at, &[host, ("origin", "http://localhost")], Some(403));
        check(at, &[host, ("origin", "https://localhost:8081")], Some(403));
        check(at, &[host, ("origin", "http://evil.example")], Some(403));
        check(at, &[host, ("origin", "null")], Some(403));
        check(at, &[host, ("origin", "")], Some(403));
        check("127.0.0.1:80", &[("host", "localhost"), ("origin", "http://localhost")], None);
        check("[::1]:8081", &[("host", "[::1]:8081"), ("origin", "http://[::1]:8081")], None);
    }
}
