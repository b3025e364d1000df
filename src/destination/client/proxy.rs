//! By which proxy a request goes: the destination's own `proxy:`, or what the environment says. Pure.

use super::{Url, is_loopback};
use crate::secret::Secret;
use base64::Engine as _;

/// What a config says of a destination's proxy.
#[derive(Clone, Default)]
pub enum ProxyChoice {
    #[default]
    Environment,
    /// `none`.
    None,
    /// This one, for every request.
    Fixed(Secret),
}

/// What the environment says of proxies, as every other program reads it.
#[derive(Clone, Debug, Default)]
pub struct ProxyEnvironment {
    http: Option<Named>,
    https: Option<Named>,
    all: Option<Named>,
    /// Hosts, domains, addresses and networks that are reached directly.
    direct: String,
}

/// A value and the variable that holds it.
#[derive(Clone, Debug)]
struct Named {
    name: &'static str,
    value: Secret,
}

/// A proxy for one request.
pub struct Chosen {
    pub url: Url,
    /// `NO_PROXY`, which may still say that the host is reached directly.
    pub direct: String,
}

impl ProxyEnvironment {
    /// Reads it; lower case counts first, and an empty variable is none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let found = |names: [&'static str; 2]| {
            let given = |name: &'static str| Some((name, variable(name).filter(|text| !text.trim().is_empty())?));
            names.into_iter().find_map(given)
        };
        let named = |names| found(names).map(|(name, value)| Named { name, value: Secret::from(value) });
        Self {
            http: named(["http_proxy", "HTTP_PROXY"]),
            https: named(["https_proxy", "HTTPS_PROXY"]),
            all: named(["all_proxy", "ALL_PROXY"]),
            direct: found(["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default(),
        }
    }
}

impl ProxyChoice {
    /// The proxy for a request to a URL. The sentence of an error holds no secret.
    pub fn chosen(&self, environment: &ProxyEnvironment, target: &Url) -> Result<Option<Chosen>, String> {
        match self {
            ProxyChoice::None => Ok(None),
            ProxyChoice::Fixed(url) => {
                let url = parse(url.expose())?;
                Ok(Some(Chosen { url, direct: String::new() }))
            }
            // What is on this machine is never reached by way of another.
            ProxyChoice::Environment if is_loopback(target) => Ok(None),
            ProxyChoice::Environment => {
                let of_scheme = if target.scheme() == "https" { &environment.https } else { &environment.http };
                let Some(Named { name, value }) = of_scheme.as_ref().or(environment.all.as_ref()) else {
                    return Ok(None);
                };
                let url = parse(value.expose()).map_err(|why| format!("the environment variable {name}: {why}"))?;
                Ok(Some(Chosen { url, direct: environment.direct.clone() }))
            }
        }
    }

    /// It as text, to be compared and never shown.
    pub fn text(&self) -> &str {
        match self {
            ProxyChoice::Environment => "",
            ProxyChoice::None => "none",
            ProxyChoice::Fixed(url) => url.expose(),
        }
    }
}

impl ProxyEnvironment {
    /// The URLs of all proxies that it names.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        [&self.http, &self.https, &self.all].into_iter().flatten().map(|named| named.value.expose())
    }
}

/// What of a proxy's URL must not be shown: the password, and the pair as the proxy gets it.
pub fn secrets(url: &str) -> Vec<String> {
    let Some(url) = parse(url).ok().filter(|url| url.password().is_some()) else { return Vec::new() };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(url.username());
    let password = decoded(url.password().unwrap_or_default());
    let pair = base64::engine::general_purpose::STANDARD_NO_PAD.encode(format!("{user}:{password}"));
    vec![password, pair]
}

/// Reads the URL of a proxy; without a scheme it is an HTTP proxy. The sentence never holds the URL.
pub fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("this is not the URL of a proxy: {error}"))?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err("the URL of a proxy begins with http://, https://, socks5:// or socks5h://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL of the proxy has no host".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err("the URL of a proxy ends after its port".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], target: &str, expected: &str) {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let environment = ProxyEnvironment::read(variable);
        let target = Url::parse(target).expect("a URL");
        let chosen = ProxyChoice::Environment.chosen(&environment, &target);
        let shown = match chosen {
            Ok(Some(chosen)) => format!("{} but {}", chosen.url, chosen.direct),
            Ok(None) => "direct".to_owned(),
            Err(why) => why,
        };
        assert_eq!(shown.trim_end_matches(" but "), expected, "{variables:?}");
    }

    #[test]
    fn the_environment_is_read_as_every_other_program_reads_it() {
        let http = "http://crm.example.com/x";
        let https = "https://crm.example.com/x";
        check(&[], https, "direct");
        check(&[("HTTPS_PROXY", "http://proxy:3128")], https, "http://proxy:3128/");
        check(&[("HTTPS_PROXY", "http://proxy:3128")], http, "direct");
        check(&[("HTTP_PROXY", "proxy:3128")], http, "http://proxy:3128/");
        check(&[("http_proxy", "http://a:1"), ("HTTP_PROXY", "http://b:1")], http, "http://a:1/");
        check(&[("ALL_PROXY", "socks5://proxy:1080")], https, "socks5://proxy:1080");
        check(&[("all_proxy", "http://a:1"), ("https_proxy", "http://b:1")], https, "http://b:1/");
        check(&[("HTTPS_PROXY", " ")], https, "direct");
        check(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", ".example.com")], https, "http://p:1/ but .example.com");
    }

    #[test]
    fn loopback_is_never_reached_by_the_environments_proxy() {
        let all = [("ALL_PROXY", "http://proxy:3128")];
        for target in ["http://127.0.0.1:1/", "http://127.8.8.8/", "http://[::1]/", "https://localhost/x"] {
            check(&all, target, "direct");
        }
        check(&all, "http://10.0.0.1/", "http://proxy:3128/");
    }

    #[test]
    fn a_proxy_that_is_none_is_told_without_its_value() {
        let begins = "the environment variable HTTPS_PROXY: the URL of a proxy begins with http://, https://, socks5:// or socks5h://";
        check(&[("HTTPS_PROXY", "ftp://user:s3cret@proxy")], "https://a.example/", begins);
        for (text, is_one) in [
            ("http://user:pass@proxy:3128", true),
            ("proxy", true),
            ("http://", false),
            ("http://proxy/path", false),
            ("http://proxy:99999", false),
        ] {
            assert_eq!(parse(text).is_ok(), is_one, "{text}");
        }
    }
}
