//! `admin:`: where the operator looks in, and who may.
//!
//! On loopback a token is optional: who is on this machine may read the file that would hold it. Beyond loopback it is not.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::listen::{ADDRESS_FORM, address, read_address};
use super::sources::{SECRET_HELP, TOKEN_CHARACTERS_MAX, TOKEN_CHARACTERS_MIN};
use super::{advice, tls};
use crate::destination::client::{URL_FORM, Url, is_loopback, parse_url};
use crate::secret::Secret;
use crate::yaml::keys::{Defaulted, Info, Key, Of, Section, boolean, by_hand, form, key, word};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;
use crate::yaml::words::variable_name;

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Who brings one of them may do everything. None: nobody is asked, which is for loopback alone.
    pub tokens: Vec<Secret>,
    /// Who brings one of them may look, and sees no event.
    pub read_tokens: Vec<Secret>,
    /// The names by which it is reached from elsewhere, in small letters, with a port where that is a part of it.
    pub hosts: Vec<String>,
    /// The address of the page, for links; without a slash at its end.
    pub url: Option<Url>,
    /// Whether the metrics are for everybody who reaches it.
    pub open_metrics: bool,
    /// Whether the API shows addresses of people.
    pub shows_addresses: bool,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// When the certificate of that ends, unix milliseconds.
    pub tls_ends_ms: Option<u64>,
}

const LISTEN: Key<String> = key("listen", form(ADDRESS_FORM, "address and port"))
    .seen(Sight::All)
    .about("Whoever reaches it sees events and gives commands, so beyond loopback it needs `token`. It cannot have the port of the listener for webhooks.")
    .example("127.0.0.1:8081")
    .default("127.0.0.1:8081");
const TOKEN: Key<()> = key("token", by_hand(Of::Secrets))
    .about_made(|| {
        format!("What people sign in with, and what programs send as `Authorization: Bearer …`: letters, digits and `-._~+/=`, from {TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX}. Several, as a list, while one replaces the other: who came in by one that is gone is signed out. The verbs take it from this file, or from `VERO_RELAY_ADMIN_TOKEN`.")
    })
    .example("\"${VERO_RELAY_ADMIN_TOKEN}\"")
    .otherwise("nobody is asked, on loopback alone");
const READ_TOKEN: Key<()> = key("read_token", by_hand(Of::Secrets))
    .about("The same for who only looks: states, numbers and metrics, no event and nobody's address, and no command.")
    .example("\"${VERO_RELAY_READ_TOKEN}\"");
const HOSTS: Key<()> = key("hosts", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The names by which it is reached, besides those of this machine and that of `url`: a request with another `Host` gets 421, so that no web page reaches it by a name of its own. With a port, the name is taken with that port alone.")
    .example("[relay.example.com]");
const URL: Key<String> = key("url", form(URL_FORM, "URL"))
    .seen(Sight::Url)
    .about("The address of the page, for links to it: https, unless it is on loopback. It also says that what comes in is encrypted on the way, so the cookie of a session goes by https alone.")
    .example("https://relay.example.com/vero/");
const OPEN_METRICS: Defaulted<bool> =
    key("open_metrics", boolean()).about("`/metrics` without a token, and by any name.").example("true").default(false);
const SHOW: Key<String> = key("show", word(&[EVERYTHING, "no_addresses"]))
    .seen(Sight::All)
    .about("With `no_addresses`, an `…@…` stands for each address in what the API, the page and the verbs show, to everybody. What is delivered has them.")
    .example("no_addresses")
    .default(EVERYTHING);
const EVERYTHING: &str = "everything";
const TLS: Key<()> = key("tls", by_hand(Of::Map(tls::keys)))
    .about("Encrypts this listener. A reload takes a new certificate over.")
    .example("{ cert: admin.pem, key: admin-key.pem }");

/// The keys of `admin:`.
pub(super) fn keys() -> Section {
    let section = Section::of(&[
        LISTEN.info,
        TOKEN.info,
        READ_TOKEN.info,
        HOSTS.info,
        URL.info,
        OPEN_METRICS.info,
        SHOW.info,
        TLS.info,
    ]);
    let needs = |key: &Info, other: &Info| serde_json::json!({ "dependentRequired": { key.name: [other.name] } });
    section.besides(needs(&READ_TOKEN.info, &TOKEN.info))
}

/// The key that says where it listens, where it is set.
pub(super) fn listen_node(admin: &Node) -> Option<&Node> {
    admin.get(LISTEN.info.name)
}

/// The parts that say how a verb gets in, where they are set.
pub(super) fn way_in(admin: &Node) -> [Option<&Node>; 3] {
    [LISTEN.info, TOKEN.info, TLS.info].map(|key| admin.get(key.name))
}

/// Where the operator looks in, if the config does not say.
pub(super) fn default_listen() -> Option<SocketAddr> {
    address(LISTEN.info.default_text()).ok()
}

/// Reads all of it.
pub(super) fn read(reader: &Reader, node: Option<&Node>, surroundings: &dyn Surroundings) -> Option<Admin> {
    let Some(node) = node else {
        return Some(Admin {
            listen: default_listen()?,
            tokens: Vec::new(),
            read_tokens: Vec::new(),
            hosts: Vec::new(),
            url: None,
            open_metrics: OPEN_METRICS.default,
            shows_addresses: true,
            tls: None,
            tls_ends_ms: None,
        });
    };
    let mut entries = reader.map(node, "`admin`")?;
    let listen_node = entries.node(&LISTEN.info);
    let token_node = entries.node(&TOKEN.info);
    let read_token_node = entries.node(&READ_TOKEN.info);
    let hosts_node = entries.node(&HOSTS.info);
    let url_node = entries.node(&URL.info);
    let open_metrics = entries.value(&OPEN_METRICS);
    let shows_addresses = entries.read(&SHOW).is_none_or(|shown| shown == EVERYTHING);
    let tls_node = entries.node(&TLS.info);
    let at = entries.at();
    // What is unknown may be a token under a slip of its key.
    reader.hiding_values(|| entries.finish());
    let listen = listen_node.map_or_else(default_listen, |node| read_address(reader, node));
    let tokens = token_node.map_or(Some(Vec::new()), |node| read_tokens(reader, node));
    let read_tokens = read_token_node.map_or(Some(Vec::new()), |node| read_tokens(reader, node));
    let plain = reader.take_plain().into_iter().map(|(at, _)| at);
    advice::exposure::advise_of_plain_secrets(reader, plain);
    let hosts = hosts_node.map_or(Some(Vec::new()), |node| {
        let hosts: Vec<_> = reader.list(node).into_iter().map(|node| read_host(reader, node)).collect();
        hosts.into_iter().collect()
    });
    let url = url_node.map_or(Some(None), |node| read_url(reader, node).map(Some));
    let host = url.as_ref().and_then(Option::as_ref).filter(|url| url.scheme() == "https").and_then(Url::host_str);
    // What a `${…}` stands for is not said.
    let is_shown = url_node.and_then(Node::scalar).is_some_and(|url| !url.is_interpolated);
    let comes_by = host.filter(|_| is_shown).map(|host| tls::ComesBy { host, key: "admin.url" });
    let tls = tls_node.map_or(Some(None), |node| tls::read(reader, node, surroundings, comes_by));
    let is_public = listen.is_some_and(|listen| !listen.ip().is_loopback());
    let message = match (token_node, read_token_node) {
        (None, Some(_)) => Some("`read_token` is for who may less than who has `token`, and there is none"),
        (None, None) if is_public => {
            Some("beyond loopback the admin listener needs a token: whoever reaches it sees events and gives commands")
        }
        _ => None,
    };
    if let Some(message) = message {
        let help = "write token: \"${VERO_RELAY_ADMIN_TOKEN}\" beside it, and make one with: openssl rand -hex 24";
        match listen_node {
            Some(node) if is_public => reader.error_with(node.id, message, help.to_owned()),
            _ => reader.fixed_error(at, message, help),
        }
        return None;
    }
    if is_public && tls_node.is_none() && url_node.is_none() {
        let help = "encrypt it by tls:, or let a proxy do that and say url: https://… as people open the page";
        let message = "the token and all that is shown go over the network as they are";
        reader.warning(listen_node.map_or(at, |node| node.id), message, help.to_owned());
    }
    let (tokens, read_tokens) = (tokens?, read_tokens?);
    if let Some(node) = token_node.filter(|node| !reader.would_tell(node))
        && read_tokens.iter().any(|token| tokens.contains(token))
    {
        reader.fixed_error(node.id, "`token` and `read_token` have the same token", SECRET_HELP);
    }
    Some(Admin {
        listen: listen?,
        tokens,
        read_tokens,
        hosts: hosts?,
        url: url?,
        open_metrics,
        shows_addresses,
        tls_ends_ms: tls.as_ref().and_then(Option::as_ref).and_then(|pair| pair.ends_ms),
        tls: tls?.map(|pair| pair.server),
    })
}

/// A source's token is known to whoever sends, and stands in URLs.
pub(super) fn refuse_shared(reader: &Reader, node: Option<&Node>, admin: &Admin, sources: &[super::Source]) {
    let Some(node) = node.and_then(|admin| admin.get(TOKEN.info.name)).filter(|node| !reader.would_tell(node)) else {
        return;
    };
    let of_sources: HashSet<&str> = sources.iter().flat_map(super::Source::tokens).map(Secret::expose).collect();
    if admin.tokens.iter().chain(&admin.read_tokens).any(|token| of_sources.contains(token.expose())) {
        let message = "a source has the same token: whoever may send could give commands";
        reader.fixed_error(node.id, message, SECRET_HELP);
    }
}

fn read_tokens(reader: &Reader, node: &Node) -> Option<Vec<Secret>> {
    let nodes = reader.list(node);
    if nodes.is_empty() {
        let help = "write token: \"${VERO_RELAY_ADMIN_TOKEN}\"".to_owned();
        reader.error_with(node.id, "this list has no token, so nobody could come in", help);
        return None;
    }
    let read: Vec<_> = nodes.into_iter().map(|node| read_token(reader, node)).collect();
    read.into_iter().collect()
}

fn read_token(reader: &Reader, node: &Node) -> Option<Secret> {
    let secret = reader.credential(node)?;
    let text = secret.expose();
    if let Some(name) = node.scalar().filter(|scalar| !scalar.is_interpolated).and_then(|_| variable_name(text)) {
        let message = format!("`{name}` is no variable as it stands here");
        reader.secret_error_with(node.id, message, format!("write \"${{{name}}}\""));
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let length = text.chars().count();
    let message = if !text.chars().all(is_plain) {
        "a token stands in a header: letters, digits and `-._~+/=`".to_owned()
    } else if !(TOKEN_CHARACTERS_MIN..=TOKEN_CHARACTERS_MAX).contains(&length) {
        format!("a token here has from {TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} characters")
    } else {
        return Some(secret);
    };
    reader.secret_error_with(node.id, message, SECRET_HELP.to_owned());
    None
}

/// A name with or without a port, as a `Host` header has it.
fn read_host(reader: &Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let url = Url::parse(&format!("http://{text}/")).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).filter(|_| !text.contains(['/', '@', '*', '?', '#']));
    let Some((host, url)) = host.zip(url.as_ref()) else {
        let meant = Url::parse(text).ok().and_then(|url| url.host_str().map(|host| format!("write {host}")));
        let help = meant.unwrap_or_else(|| "write each name out, without http:// and without a path".to_owned());
        let what = "not the name of a host, like relay.example.com or relay.example.com:8443";
        if text.contains(['@', '?', '#']) {
            // A password or a token may stand there.
            reader.secret_error_with(node.id, format!("this is {what}"), help);
        } else {
            reader.error_with(node.id, format!("`{text}` is {what}"), help);
        }
        return None;
    };
    Some(url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")))
}

fn read_url(reader: &Reader, node: &Node) -> Option<Url> {
    let text = reader.text(node)?;
    // Whatever is too much in it may be a secret: a password, a token behind the `?`.
    let fail = |message: String, help: &str| {
        reader.secret_error_with(node.id, message, help.to_owned());
        None
    };
    let has_user = Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if has_user {
        let message = "the page's address has no user and no password";
        return fail(message.to_owned(), "leave them out: who opens the page signs in by the token");
    }
    let mut url = match parse_url(text) {
        Ok(url) => url,
        Err(message) => return fail(message, "write https://… as people open the page"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return fail("the page's address has neither ? nor #".to_owned(), "leave out what is behind it");
    }
    if url.scheme() != "https" && !is_loopback(&url) {
        let message = "beyond loopback the page is opened by https, or the token goes over the network as it is";
        reader.error_with(node.id, message, format!("write {}", text.replacen("http://", "https://", 1)));
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_with_or_without_a_port_and_nothing_else() {
        let read = |text: &str| {
            let root = crate::yaml::load::parse(&format!("\"{text}\"")).expect("YAML");
            let reader = Reader::new(".".into(), &crate::config::unknown::Known);
            read_host(&reader, &root)
        };
        for (text, expected) in [
            ("relay.example.com", Some("relay.example.com")),
            ("Relay.Example.com:8443", Some("relay.example.com:8443")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]:81", Some("[2001:db8::1]:81")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("https://relay.example.com", None),
            ("relay.example.com/x", None),
            ("*.example.com", None),
            ("user@relay.example.com", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }
}
