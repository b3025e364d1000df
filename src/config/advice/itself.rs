//! A destination that is the relay itself: one event would become thousands, until the disk is full.

use std::net::{IpAddr, SocketAddr};

use crate::destination::client::Url;

/// Where this relay is reached.
pub(in crate::config) struct Own<'c> {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub public_url: Option<&'c str>,
}

/// What a destination's URL means if it leads back here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Leads {
    /// Elsewhere.
    Away,
    /// To `listen`: each event would come in again.
    ToListen,
    /// To `admin.listen`: events would act as the operator.
    ToAdmin,
    /// To `public_url`, which something else may stand behind.
    ToPublicUrl,
}

/// Where a URL leads; `path` is the beginning of its path that is the same for every event.
pub(in crate::config) fn leads(own: &Own<'_>, url: &Url, path: &str) -> Leads {
    if is_at(url, own.listen) {
        return Leads::ToListen;
    }
    // The bins are there to be delivered to.
    if is_at(url, own.admin_listen) {
        return if path.starts_with("/bin/") { Leads::Away } else { Leads::ToAdmin };
    }
    let public = own.public_url.and_then(|text| Url::parse(text).ok());
    let is_public = public.is_some_and(|public| {
        public.origin() == url.origin() && path.starts_with(&format!("{}/hooks/", public.path().trim_end_matches('/')))
    });
    if is_public { Leads::ToPublicUrl } else { Leads::Away }
}

fn is_at(url: &Url, listen: SocketAddr) -> bool {
    if listen.port() == 0 || url.port_or_known_default() != Some(listen.port()) {
        return false;
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let listen = listen.ip().to_canonical();
    let listens_here = listen.is_loopback() || listen.is_unspecified();
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address == listen || (listens_here && (address.is_loopback() || address.is_unspecified())),
        Err(_) => listens_here && (host.eq_ignore_ascii_case("localhost") || host.ends_with(".localhost")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, url: &str, expected: Leads) {
        let own = Own {
            listen: listen.parse().expect("an address"),
            admin_listen: "127.0.0.1:9090".parse().expect("an address"),
            public_url: Some("https://relay.example.com/in"),
        };
        let parsed = Url::parse(url).expect("a URL");
        assert_eq!(leads(&own, &parsed, parsed.path()), expected, "{url} for {listen}");
    }

    #[test]
    fn every_way_to_write_this_machine_leads_here() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.8.8.8",
            "2130706433",
            "0.0.0.0",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "x.localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
        ] {
            let url = format!("http://{host}:8080/hooks/vero/tok");
            for listen in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080", "[::1]:8080"] {
                check(listen, &url, Leads::ToListen);
            }
            check("10.0.0.5:8080", &url, Leads::Away);
            check("127.0.0.1:8081", &url, Leads::Away);
        }
        check("10.0.0.5:8080", "http://10.0.0.5:8080/x", Leads::ToListen);
        check("0.0.0.0:80", "http://localhost/hooks/a/b", Leads::ToListen);
        check("127.0.0.1:8080", "http://crm.example.com:8080/", Leads::Away);
    }

    #[test]
    fn the_operators_listener_is_for_bins_only() {
        check("127.0.0.1:8080", "http://127.0.0.1:9090/bin/crm", Leads::Away);
        check("127.0.0.1:8080", "http://localhost:9090/bin/crm/x", Leads::Away);
        check("127.0.0.1:8080", "http://127.0.0.1:9090/api/destinations/a/pause", Leads::ToAdmin);
        check("127.0.0.1:8080", "http://[::1]:9090/", Leads::ToAdmin);
        check("127.0.0.1:8080", "http://127.0.0.1:9090/bin/../api/reload", Leads::ToAdmin);
    }

    #[test]
    fn the_public_url_may_be_something_else() {
        check("127.0.0.1:8080", "https://relay.example.com/in/hooks/vero/tok", Leads::ToPublicUrl);
        check("127.0.0.1:8080", "https://relay.example.com:443/in/hooks/vero/tok", Leads::ToPublicUrl);
        check("127.0.0.1:8080", "https://relay.example.com/other", Leads::Away);
    }
}
