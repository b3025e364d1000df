//! URLs: read, and fit to be shown.

use std::net::IpAddr;

/// A URL that was checked.
pub type Url = reqwest::Url;

/// The form of an absolute URL, as a schema tells it.
pub const URL_FORM: &str = "^https?://";

/// Whether a URL's host can only be this machine.
pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

/// Whether a host can only be this machine: by its name, or by its address, in brackets or without.
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // An address of IPv4 within one of IPv6 goes where that of IPv4 goes.
    let is_address = bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

/// A URL fit to be shown. On another machine a path may be a password, so it is left out.
pub fn shown(url: &Url) -> String {
    match url.path() {
        path if is_loopback(url) && path != "/" => format!("{}{path}", url.origin().ascii_serialization()),
        _ => without_path(url),
    }
}

/// The same without its path, on whatever machine.
pub fn without_path(url: &Url) -> String {
    let path = if matches!(url.path(), "/" | "") { "" } else { "/…" };
    format!("{}{path}", url.origin().ascii_serialization())
}

/// The same, and a sign that there is more where there is a query.
pub fn shown_with_query(url: &Url) -> String {
    let query = if url.query().is_some() && is_loopback(url) { "?…" } else { "" };
    format!("{}{query}", shown(url))
}

/// Why a text with a space in it is no URL.
pub const SPACE: &str = "a URL has no space in it";

/// Reads an http or https URL, or says what is wrong with it. The sentence never holds the URL.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let begins = "a URL here begins with http:// or https://";
    if !text.contains("://") {
        return Err(begins.to_owned());
    }
    // The parser takes blanks of ASCII around it away, and lines and tabs out of it.
    if text.trim_matches(|c: char| c.is_ascii_whitespace()).contains(char::is_whitespace) {
        return Err(SPACE.to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("this is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(begins.to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a user or password: put them under `auth: {basic: …}`".to_owned());
    }
    Ok(url)
}
