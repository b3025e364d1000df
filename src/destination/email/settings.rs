//! The section of an `email:` destination, read: the server, who logs in, and how the relay greets.

use std::net::{IpAddr, Ipv6Addr};

use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;

use crate::destination::client::{Url, is_loopback_host};
use crate::secret::Secret;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

pub(super) const STARTTLS_WORDS: [&str; 2] = ["required", "never"];

/// What the parser says of a port that there is not.
const NO_PORT: &str = "invalid port number";
/// Where TLS begins with the first byte, everywhere (RFC 8314, 7.3).
const PORT_OF_TLS: u16 = 465;
/// Where it begins by STARTTLS, if it does: between mail servers, and for mail programs (RFC 6409, 3.1).
const PORTS_OF_STARTTLS: [u16; 2] = [25, 587];

/// Where messages are taken.
pub(super) struct Server {
    pub host: String,
    /// The same, as its certificate must have it.
    pub name: ServerName<'static>,
    pub port: u16,
    pub encryption: Encryption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// From the first byte on.
    AtOnce,
    /// By STARTTLS, or not at all.
    StartTls,
    Never,
}

impl Server {
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    pub fn address(&self) -> String {
        let scheme = if self.encryption == Encryption::AtOnce { "smtps" } else { "smtp" };
        format!("{scheme}://{}:{}", self.written_host(), self.port)
    }

    /// The host as it stands in an address: that of IPv6 in brackets.
    fn written_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

pub(super) fn read_server(reader: &Reader, node: &Node, starttls: Option<&Node>) -> Option<Server> {
    let text = reader.text(node)?;
    let help = "write server: smtp.example.com, or smtps://smtp.example.com, with :PORT if it has another";
    let fail = |message: &'static str| {
        reader.fixed_error(node.id, message, help);
        None
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return fail("a mail server's address has no spaces");
    }
    if authority(text).parse::<Ipv6Addr>().is_ok() {
        let help = "write server: \"[2001:db8::1]\", and a port behind the brackets: \"[2001:db8::1]:587\"";
        reader.fixed_error(node.id, "an address of IPv6 stands in brackets", help);
        return None;
    }
    let url = if text.contains("://") { text.to_owned() } else { format!("smtp://{text}") };
    let url = match Url::parse(&url) {
        Ok(url) => url,
        Err(error) if error.to_string() == NO_PORT => return fail(wrong_port(authority(text))),
        Err(_) => return fail("this is not the address of a mail server"),
    };
    let is_at_once = url.scheme() == "smtps";
    // It has small letters here, whatever the text has.
    if !matches!(url.scheme(), "smtp" | "smtps") {
        return fail("a mail server's address begins with smtp:// or smtps://, or with its name");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fail("the address holds a user or password: put them under `username` and `password`");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return fail("a mail server's address has a name and a port, and nothing behind them");
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return fail("the address has no host") };
    if !text.is_ascii() {
        let message = "a mail server's name is written in ASCII";
        // What stands behind a `${…}` is told in no spelling.
        let is_filled = node.scalar().is_some_and(|scalar| scalar.is_interpolated);
        let ascii = if is_filled { None } else { in_ascii(text) };
        let Some(ascii) = ascii else { return fail(message) };
        reader.secret_error_with(node.id, message, format!("write server: {ascii}"));
        return None;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let Ok(name) = ServerName::try_from(host.clone()) else {
        return fail("no host has a name like this: it is letters, digits and hyphens, with single dots between them");
    };
    if url.port() == Some(0) {
        return fail("nothing listens at port 0: a port is a number from 1 to 65535");
    }
    let encryption = read_encryption(reader, starttls, is_at_once);
    let port = url.port().unwrap_or(if is_at_once { PORT_OF_TLS } else { 587 });
    let server = Server { host, name, port, encryption };
    advise_of_port(reader, node, &server);
    Some(server)
}

/// The host and the port in an address of a server, as they are written.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)
}

/// What is wrong with what stands in the place of a port.
fn wrong_port(authority: &str) -> &'static str {
    let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    let Some((_, port)) = behind.split_once(':') else { return "this is not the address of a mail server" };
    if port.contains(':') {
        "a mail server's address has one port, and this has more than one colon"
    } else if port.chars().all(|c| c.is_ascii_digit()) {
        "there is no such port: a port is a number from 1 to 65535"
    } else {
        "what stands behind the colon is no number, and a port is one from 1 to 65535"
    }
}

/// Tells of a port that begins otherwise. On this machine it may be a tunnel's.
fn advise_of_port(reader: &Reader, node: &Node, server: &Server) {
    let Server { port, encryption, .. } = *server;
    let is_at_once = encryption == Encryption::AtOnce;
    let needs_tls = port == PORT_OF_TLS && !is_at_once;
    let needs_starttls = PORTS_OF_STARTTLS.contains(&port) && is_at_once;
    if server.is_loopback() || !(needs_tls || needs_starttls) || reader.would_tell(node) {
        return;
    }
    let is_filled = node.scalar().is_some_and(|scalar| scalar.is_interpolated);
    let host = server.written_host();
    // YAML takes what begins with a bracket for a list.
    let quote = |text: String| if text.starts_with('[') { format!("\"{text}\"") } else { text };
    match needs_tls {
        // What stands behind a `${…}` is told in no spelling.
        true if is_filled => reader.fixed_warning(
            node.id,
            "this port speaks TLS from the first byte, and without smtps:// the relay waits for a greeting first",
            "write smtps:// before the name".to_owned(),
        ),
        true => {
            let message = format!(
                "port {port} speaks TLS from the first byte, and without smtps:// the relay waits for a greeting first"
            );
            reader.secret_warning(node.id, message, format!("write server: smtps://{host}"));
        }
        false if is_filled => reader.fixed_warning(
            node.id,
            "this port begins without TLS, and with smtps:// the relay speaks it from the first byte",
            "leave smtps:// out, so that it is encrypted by STARTTLS; or leave the port out".to_owned(),
        ),
        false => {
            let message =
                format!("port {port} begins without TLS, and with smtps:// the relay speaks it from the first byte");
            let plain = quote(format!("{host}:{port}"));
            let help = format!("write server: {plain}, which is encrypted by STARTTLS, or server: smtps://{host}");
            reader.secret_warning(node.id, message, help);
        }
    }
}

/// The address with its host in the letters that DNS has: `xn--…`.
fn in_ascii(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let host = rest.split(['/', ':']).next()?;
    let ascii = ascii_host(host)?;
    let separator = if scheme.is_empty() { "" } else { "://" };
    Some(format!("{scheme}{separator}{ascii}{}", &rest[host.len()..]))
}

/// A host as DNS has it. Only of a scheme that it knows, the parser takes the host for a name; and one of numbers for an address, which nobody
/// wrote.
pub(super) fn ascii_host(host: &str) -> Option<String> {
    let url = Url::parse(&format!("https://{host}/")).ok()?;
    url.domain().filter(|host| host.is_ascii()).map(str::to_owned)
}

/// How a connection is encrypted: by the server's scheme, and by `starttls` where that leaves it open.
fn read_encryption(reader: &Reader, starttls: Option<&Node>, is_at_once: bool) -> Encryption {
    let unless_never = if is_at_once { Encryption::AtOnce } else { Encryption::StartTls };
    let Some(node) = starttls else { return unless_never };
    let Some(text) = reader.text(node) else { return unless_never };
    if !STARTTLS_WORDS.contains(&text) {
        reader.error_with(node.id, "`starttls` is required or never", "leave it out to have it required".to_owned());
    } else if is_at_once {
        let message = "with smtps:// all is encrypted from the beginning, so there is no STARTTLS";
        reader.error_with(node.id, message, "take `starttls` out".to_owned());
    }
    if !is_at_once && text == STARTTLS_WORDS[1] { Encryption::Never } else { unless_never }
}

/// The user and the password, if both are there. `None`: that was told to be wrong.
pub(super) fn read_login(
    reader: &Reader,
    nodes: [Option<&Node>; 2],
    server: Option<&Server>,
) -> Option<Option<(String, Secret)>> {
    match nodes {
        [None, None] => Some(None),
        [Some(username), Some(password)] => {
            let name = reader.text(username);
            if name.is_some_and(|name| name.trim().is_empty()) {
                let help = "write username: relay, or take `username` and `password` out".to_owned();
                reader.error_with(username.id, "`username` is empty", help);
                return None;
            }
            let pair = (name?.to_owned(), reader.credential(password)?);
            let is_in_the_clear =
                server.is_some_and(|server| server.encryption == Encryption::Never && !server.is_loopback());
            if is_in_the_clear {
                let message = "with `starttls: never` the password would go over the network for everybody to read";
                reader.fixed_error(password.id, message, "take `starttls` out");
            }
            Some(Some(pair))
        }
        [one, other] => {
            let at = one.or(other)?.id;
            let message = "`username` and `password` stand together, or neither does";
            reader.fixed_error(at, message, "write both: username: relay, password: \"${SMTP_PASSWORD}\"");
            None
        }
    }
}

/// Who the relay says it is.
pub(super) fn read_hello(reader: &Reader, node: &Node) -> Option<ClientId> {
    let text = reader.text(node)?;
    let read = said_hello(text);
    if read.is_none() {
        let message =
            "this is neither a host's name, with letters, digits and hyphens between its dots, nor an address";
        // What stands behind a `${…}` is told in no spelling.
        if node.scalar().is_some_and(|scalar| scalar.is_interpolated) {
            reader.fixed_error(node.id, message, "write hello: relay.example.com");
        } else {
            let ascii = ascii_host(text).filter(|ascii| said_hello(ascii).is_some());
            let help = format!("write hello: {}", ascii.as_deref().unwrap_or("relay.example.com"));
            reader.error_with(node.id, message, help);
        }
    }
    read
}

/// A host's name, or an address, in the brackets that SMTP puts around it (RFC 5321, 4.1.3) or without.
pub(super) fn said_hello(text: &str) -> Option<ClientId> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.strip_prefix("IPv6:").unwrap_or(bare).parse() {
        Ok(IpAddr::V4(address)) => Some(ClientId::Ipv4(address)),
        Ok(IpAddr::V6(address)) => Some(ClientId::Ipv6(address)),
        Err(_) => is_host_name(text).then(|| ClientId::Domain(text.to_owned())),
    }
}

/// RFC 1123, 2.1: behind the last dot stands more than a number, so that no address is taken for a name.
fn is_host_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let last = name.rsplit_once('.').map_or("a", |(_, last)| last);
    name.len() <= 253 && name.split('.').all(is_part) && !last.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_relay_is_is_a_name_or_an_address() {
        for (text, expected) in [
            ("relay.example.com", Some("relay.example.com")),
            ("vm", Some("vm")),
            ("8023", Some("8023")),
            ("a-1.2b", Some("a-1.2b")),
            ("192.0.2.1", Some("[192.0.2.1]")),
            ("[192.0.2.1]", Some("[192.0.2.1]")),
            ("[IPv6:2001:db8::1]", Some("[IPv6:2001:db8::1]")),
            ("2001:db8::1", Some("[IPv6:2001:db8::1]")),
            ("300.0.2.1", None),
            ("relay.example.com.", None),
            ("a..b", None),
            ("-a.b", None),
            ("a_b.c", None),
            ("[relay]", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(said_hello(text).map(|hello| hello.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_in_other_letters_is_told_in_ascii() {
        for (text, expected) in [
            ("exämple.com", "xn--exmple-cua.com"),
            ("smtps://exämple.com:2465/", "smtps://xn--exmple-cua.com:2465/"),
            ("exämple.com:25", "xn--exmple-cua.com:25"),
        ] {
            assert_eq!(in_ascii(text).as_deref(), Some(expected));
        }
        assert_eq!(in_ascii("example.com:ü"), Some("example.com:ü".to_owned()), "the port was told before");
    }
}
