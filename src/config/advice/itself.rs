//! A destination that is the relay itself: one event would become thousands, until the disk is full.

use std::net::{IpAddr, SocketAddr};

use crate::destination::client::Url;

/// Where this relay is reached.
pub(in crate::config) struct Own<'c> {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub public_url: Option<&'c str>,
    /// This machine's own name, as it knows it itself: nobody is asked for one.
    pub host_name: Option<&'c str>,
}

/// What a destination's URL means if it leads back here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Leads {
    Away,
    /// To `listen`: each event would come in again.
    ToListen,
    /// To `admin.listen`: events would act as the operator.
    ToAdmin,
    /// To this machine by its own name, and to the port of a listener that may have another address.
    ToOwnName,
    /// To `public_url`, which something else may stand behind.
    ToPublicUrl,
}

/// How surely a URL leads to a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    There,
    Perhaps,
    Not,
}

/// Where a URL leads; `path` is the beginning of its path that is the same for every event.
pub(in crate::config) fn leads(own: &Own<'_>, url: &Url, path: &str) -> Leads {
    let at_listen = is_at(own, url, own.listen);
    if at_listen == Is::There {
        return Leads::ToListen;
    }
    let at_admin = is_at(own, url, own.admin_listen);
    // The bins are there to be delivered to.
    if at_admin != Is::Not && path.starts_with("/bin/") {
        return Leads::Away;
    }
    match (at_listen, at_admin) {
        (_, Is::There) => Leads::ToAdmin,
        (Is::Not, Is::Not) if is_public(own, url, path) => Leads::ToPublicUrl,
        (Is::Not, Is::Not) => Leads::Away,
        _ => Leads::ToOwnName,
    }
}

/// Whether a URL is below `public_url`, where sources come in, by whichever spelling.
fn is_public(own: &Own<'_>, url: &Url, path: &str) -> bool {
    let Some(public) = own.public_url.and_then(|text| Url::parse(text).ok()) else { return false };
    let ports = [&public, url].map(|url| url.port_or_known_default().unwrap_or_default());
    // What is asked for by http is often sent on to https.
    let is_port = ports[0] == ports[1] || ports.iter().all(|port| matches!(port, 80 | 443));
    let hooks = format!("{}/hooks/", plain_path(public.path()).trim_end_matches('/'));
    is_port && host(&public) == host(url) && plain_path(path).starts_with(&hooks)
}

/// A path with its percent codes and doubled slashes resolved, as most servers read it.
fn plain_path(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut plain = String::with_capacity(decoded.len());
    for c in decoded.chars() {
        if c != '/' || !plain.ends_with('/') {
            plain.push(c);
        }
    }
    plain
}

/// A URL's host as it is compared: no dot at its end, and no brackets. [`Url`] has made its letters small.
fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What a machine calls itself in its `/etc/hosts`, beside `localhost`.
const LOOPBACK_NAMES: [&str; 11] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "localhost6.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "ipv6-localhost",
    "ipv6-loopback",
];

fn is_loopback_name(host: &str) -> bool {
    LOOPBACK_NAMES.contains(&host) || host.ends_with(".localhost") || host.ends_with(".localhost.localdomain")
}

/// An address as it is compared: `::ffff:127.0.0.1` and the old `::127.0.0.1` are those of IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() && !six.is_unspecified() => {
            six.to_ipv4().map_or(IpAddr::V6(six), IpAddr::V4)
        }
        address => address,
    }
}

/// Whether a name is this machine's own: as a whole, or its first part where the other has no more.
fn is_own_name(own: &Own<'_>, host: &str) -> bool {
    let Some(name) = own.host_name.map(|name| name.trim_end_matches('.').to_lowercase()) else { return false };
    let is_first = name.split_once('.').is_some_and(|(first, _)| first == host);
    !name.is_empty() && (name == host || is_first)
}

fn is_at(own: &Own<'_>, url: &Url, listen: SocketAddr) -> Is {
    if listen.port() == 0 || url.port_or_known_default() != Some(listen.port()) {
        return Is::Not;
    }
    let host = host(url);
    let listen = canonical(listen.ip());
    let listens_here = listen.is_loopback() || listen.is_unspecified();
    let is_there = match host.parse::<IpAddr>().map(canonical) {
        Ok(address) => address == listen || (listens_here && (address.is_loopback() || address.is_unspecified())),
        Err(_) if is_own_name(own, host) && !is_loopback_name(host) => {
            // Any address that the name has is one of this machine's.
            return if listen.is_unspecified() { Is::There } else { Is::Perhaps };
        }
        Err(_) => listens_here && is_loopback_name(host),
    };
    if is_there { Is::There } else { Is::Not }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, url: &str, expected: Leads) {
        let own = Own {
            listen: listen.parse().expect("an address"),
            admin_listen: "127.0.0.1:9090".parse().expect("an address"),
            public_url: Some("https://relay.example.com./in"),
            host_name: Some("Relay-1.internal.example"),
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
            "[::ffff:7f00:1]",
            "[::7f00:1]",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "0",
            "ip6-localhost",
            "IP6-Loopback",
            "localhost.localdomain",
            "LocalHost.LocalDomain.",
            "localhost6.localdomain6",
            "foo.localhost.",
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
    fn this_machines_own_name_leads_here_and_no_other_name_does() {
        for host in ["relay-1.internal.example", "RELAY-1.Internal.Example.", "relay-1"] {
            let url = format!("http://{host}:8080/hooks/vero/tok");
            check("0.0.0.0:8080", &url, Leads::ToListen);
            check("[::]:8080", &url, Leads::ToListen);
            // The name may be that of another address than the listener's.
            check("127.0.0.1:8080", &url, Leads::ToOwnName);
            check("10.0.0.5:8080", &url, Leads::ToOwnName);
            check("127.0.0.1:8081", &url, Leads::Away);
        }
        for host in ["relay-2.internal.example", "internal.example", "relay-1.example.com", "relay", "mylocalhost"] {
            check("0.0.0.0:8080", &format!("http://{host}:8080/hooks/vero/tok"), Leads::Away);
        }
        check("0.0.0.0:8080", "http://relay-1:9090/api/reload", Leads::ToOwnName);
        check("0.0.0.0:8080", "http://relay-1:9090/bin/crm", Leads::Away);
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
        for spelling in [
            "https://RELAY.example.com/in/hooks/vero/tok",
            "https://relay.example.com./in/hooks/vero/tok",
            "http://relay.example.com/in/hooks/vero/tok",
            "https://relay.example.com/in//hooks/vero/tok",
            "https://relay.example.com//in/hooks//vero/tok",
            "https://relay.example.com/in/%68ooks/vero/tok",
            "https://relay.example.com/in%2Fhooks%2fvero/tok",
            "https://relay.example.com/x/../in/hooks/vero/tok",
        ] {
            check("127.0.0.1:8080", spelling, Leads::ToPublicUrl);
        }
        for other in [
            "https://relay.example.com/other",
            "https://relay.example.com/hooks/vero/tok",
            "https://relay.example.com/in/hooksome",
            "https://relay.example.com:8443/in/hooks/vero/tok",
            "https://relay2.example.com/in/hooks/vero/tok",
        ] {
            check("127.0.0.1:8080", other, Leads::Away);
        }
    }
}
