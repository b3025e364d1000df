//! By which names the listener is asked for, and by whose pages. Pure.
//!
//! A page in the operator's browser could call a listener on loopback. So the Host header must be a name that the relay knows (a page that
//! has rebound its own name to this address sends its own), and a request that the browser marks as another site's gets nothing.

use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};

use crate::destination::client::Url;
use crate::listener::{Answer, answer};

/// The names of the machine that a listener is on.
#[derive(Debug)]
pub(super) struct Guard {
    port: u16,
    names: Vec<String>,
}

/// What a config says besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names<'c> {
    /// With a port, or for any port.
    pub hosts: &'c [String],
    /// Of the page.
    pub url: Option<&'c Url>,
    /// Whether the listener encrypts.
    pub has_tls: bool,
}

impl Guard {
    pub(super) fn new(address: SocketAddr) -> Self {
        let own = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let names = vec![own, "localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        Self { port: address.port(), names }
    }

    /// The answer to who asks for another name.
    pub(super) fn refusal_of_host(&self, headers: &HeaderMap, names: &Names<'_>) -> Option<Answer> {
        let is_known = host(headers).is_some_and(|host| self.is_own(host) || names.has(host));
        let why =
            "this listener answers only to the names of this machine, and to those under `hosts` and `url` of `admin:`";
        (!is_known).then(|| answer(StatusCode::MISDIRECTED_REQUEST, why))
    }

    /// The answer to another site's page.
    pub(super) fn refusal_of_site(&self, headers: &HeaderMap, names: &Names<'_>) -> Option<Answer> {
        let why = "web pages of other sites get nothing from this listener";
        self.is_foreign(headers, names).then(|| answer(StatusCode::FORBIDDEN, why))
    }

    /// Whether a request is sent to this machine by one of the names that every machine has, or by the listener's own.
    pub(super) fn is_own_name(&self, headers: &HeaderMap) -> bool {
        host(headers).is_some_and(|host| self.is_own(host))
    }

    fn is_own(&self, host: &str) -> bool {
        let name = host.strip_suffix(&format!(":{}", self.port)).unwrap_or(host);
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether a browser says that another site's page asks. Programs say nothing of the sort.
    fn is_foreign(&self, headers: &HeaderMap, names: &Names<'_>) -> bool {
        let all = |name: &str, is_ours: &dyn Fn(&str) -> bool| {
            headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(is_ours))
        };
        let is_own_site = all("sec-fetch-site", &|site| matches!(site, "same-origin" | "none"));
        let host = host(headers).unwrap_or_default();
        let is_own_origin = all("origin", &|origin| self.is_own_origin(origin, names) || names.is_origin(origin, host));
        !(is_own_site && is_own_origin)
    }

    fn is_own_origin(&self, origin: &str, names: &Names<'_>) -> bool {
        let [scheme, usual] = if names.has_tls { ["https://", ":443"] } else { ["http://", ":80"] };
        let Some(authority) = origin.strip_prefix(scheme) else { return false };
        let port = format!(":{}", self.port);
        // Browsers leave the usual port out.
        let name = authority.strip_suffix(&port).or_else(|| (port == usual).then_some(authority));
        name.is_some_and(|name| self.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

impl Names<'_> {
    /// Whether a Host header says one of them.
    fn has(&self, host: &str) -> bool {
        let name = without_port(host);
        let is_host = |known: &String| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(name);
        // A proxy may ask by the name of the page with a port of its own.
        let is_page = self.url.and_then(Url::host_str).is_some_and(|page| page.eq_ignore_ascii_case(name));
        self.hosts.iter().any(is_host) || is_page
    }

    /// Whether a page at an origin is the relay's own: of another port of the same host it is only where the request goes there too.
    fn is_origin(&self, origin: &str, host: &str) -> bool {
        if self.url.is_some_and(|url| url.origin().ascii_serialization().eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some(authority) = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme)) else {
            return false;
        };
        let is_known = self.hosts.iter().any(|known| known.eq_ignore_ascii_case(authority));
        is_known || (authority.eq_ignore_ascii_case(host) && self.has(authority))
    }
}

/// The name that a request asks for. `None`: it names none, or several.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none());
    host.and_then(|host| host.to_str().ok())
}

fn without_port(host: &str) -> &str {
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(address: &str, headers: &[(&'static str, &str)], expected: Option<u16>) {
        check_with(address, &Names::default(), headers, expected);
    }

    #[track_caller]
    fn check_with(address: &str, names: &Names<'_>, headers: &[(&'static str, &str)], expected: Option<u16>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let guard = Guard::new(address.parse().expect("an address"));
        let refusal = guard.refusal_of_host(&map, names).or_else(|| guard.refusal_of_site(&map, names));
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

    #[test]
    fn a_listener_that_encrypts_has_pages_by_https() {
        let names = Names { has_tls: true, ..Names::default() };
        let at = "127.0.0.1:8081";
        let host = ("host", "localhost:8081");
        check_with(at, &names, &[host, ("origin", "https://localhost:8081")], None);
        check_with(at, &names, &[host, ("origin", "http://localhost:8081")], Some(403));
        check_with("127.0.0.1:443", &names, &[("host", "localhost"), ("origin", "https://localhost")], None);
    }

    #[test]
    fn the_names_of_the_config_are_taken_with_their_port_or_with_any() {
        let hosts = ["relay.example.com".to_owned(), "other.example.com:8443".to_owned()];
        let url = Url::parse("https://page.example.com/x").expect("a URL");
        let names = Names { hosts: &hosts, url: Some(&url), has_tls: false };
        for (host, expected) in [
            ("relay.example.com", None),
            ("Relay.Example.com:9", None),
            ("other.example.com:8443", None),
            ("other.example.com", Some(421)),
            ("other.example.com:8444", Some(421)),
            ("page.example.com", None),
            ("evil.relay.example.com", Some(421)),
            ("relay.example.com.evil.example", Some(421)),
            ("relay.example.com:evil.example", Some(421)),
            ("", Some(421)),
        ] {
            check_with("0.0.0.0:8081", &names, &[("host", host)], expected);
        }
        check_with("0.0.0.0:8081", &names, &[("host", "relay.example.com"), ("host", "relay.example.com")], Some(421));
        for (host, origin, expected) in [
            ("relay.example.com", "https://relay.example.com", None),
            ("127.0.0.1:8081", "https://relay.example.com", None),
            ("relay.example.com:9", "http://relay.example.com:9", None),
            ("relay.example.com", "https://relay.example.com:9", Some(403)),
            ("other.example.com:8443", "https://other.example.com:8443", None),
            ("page.example.com", "https://page.example.com", None),
            ("page.example.com", "http://page.example.com", None),
            ("127.0.0.1:8081", "http://page.example.com", Some(403)),
            ("relay.example.com", "ftp://relay.example.com", Some(403)),
            ("relay.example.com", "https://evil.example", Some(403)),
        ] {
            check_with("0.0.0.0:8081", &names, &[("host", host), ("origin", origin)], expected);
        }
    }
}
