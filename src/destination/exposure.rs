//! Who could read what is sent on its way.

use std::net::IpAddr;

use super::client::Url;
use crate::yaml::raw::NodeId;
use crate::yaml::reader::Reader;

/// Tells of a URL by which events go over the internet for everybody to read.
pub(super) fn advise_of_plain_http(reader: &Reader, at: NodeId, url: &Url) {
    if url.scheme() == "http" && is_public(url) {
        let message = "events go to another network unencrypted, and hold people's addresses";
        reader.secret_warning(at, message, "write https://".to_owned());
    }
}

/// Endings of names that are not found from the internet: RFC 6762, RFC 6761, RFC 8375, and ICANN's for private use.
const PRIVATE_ENDINGS: [&str; 7] = [".local", ".localhost", ".internal", ".lan", ".home.arpa", ".test", ".invalid"];

/// Whether a URL's host is out on the internet: not this machine, a private network, or a name without a dot as containers have.
fn is_public(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            !(address.is_loopback() || address.is_private() || address.is_link_local() || is_shared)
        }
        Ok(IpAddr::V6(address)) => {
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
        }
        Err(_) => {
            host.contains('.')
                && !PRIVATE_ENDINGS.iter().any(|ending| host.ends_with(ending))
                && !host.ends_with(".svc.cluster.local")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: bool) {
        let url = super::super::client::parse_url(url).expect("a URL");
        assert_eq!(is_public(&url), expected, "{url}");
    }

    #[test]
    fn only_public_addresses_are_out_on_the_internet() {
        for public in ["http://crm.example.com/", "http://8.8.8.8/", "http://[2001:4860::1]/", "http://172.32.0.1/"] {
            check(public, true);
        }
        for private in [
            "http://127.0.0.1/",
            "http://localhost:1/",
            "http://crm/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://printer.local/",
            "http://crm.default.svc.cluster.local/",
        ] {
            check(private, false);
        }
    }
}
