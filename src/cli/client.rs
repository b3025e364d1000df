//! Talking to a running relay, from the verbs that look into one.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::{FAILED, Failure, USAGE, load_quietly};
use crate::admin::WRITE_HEADER;
use crate::config::{Auth, Config, Source};
use crate::destination::client::{Answer, Call, Client, basic_authorization, parse_url};

/// The relay's own answers hold whole events.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which relay a verb looks into.
#[derive(Debug, clap::Args)]
pub(super) struct At {
    /// The admin listener of the relay [default: what the config says]
    #[arg(long, env = "VERO_RELAY_ADMIN", value_name = "URL")]
    admin: Option<String>,
}

/// A running relay, as its config says where it is.
pub(super) struct RunningRelay {
    client: Client,
    listen: SocketAddr,
    /// Without a slash at its end.
    admin: String,
}

impl RunningRelay {
    pub(super) fn of(config: &Config) -> Result<Self, Failure> {
        let client = Client::direct();
        let admin = format!("http://{}", reachable(config.admin_listen));
        Ok(Self { client, listen: reachable(config.listen), admin })
    }

    /// The relay that a verb's options name, or the one of the config.
    pub(super) fn at(named: Option<&Path>, at: &At) -> Result<Self, Failure> {
        let Some(text) = &at.admin else { return Self::of(&load_quietly(named)?.1) };
        let url = parse_url(text).map_err(|message| Failure::new(USAGE, format!("--admin {text}: {message}")))?;
        let client = Client::direct();
        let admin = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, listen: SocketAddr::from(([127, 0, 0, 1], 0)), admin })
    }

    /// Posts a body as a source's sender would.
    pub(super) async fn post_event(&self, source: &Source, body: Vec<u8>) -> Result<Answer, Failure> {
        let mut headers = HeaderMap::new();
        if let Auth::Basic(pair) = &source.auth {
            headers.insert(http::header::AUTHORIZATION, basic_authorization(pair));
        }
        if let Auth::Header { name, value } = &source.auth {
            let value = HeaderValue::from_str(value.expose());
            headers.insert(name.clone(), value.map_err(|error| Failure::of(FAILED, &error))?);
        }
        let url = format!("http://{}{}", self.listen, hook_path(source));
        self.call(Method::POST, &url, headers, body).await
    }

    /// Asks the admin listener.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.admin);
        let answer = self.call(Method::GET, &url, HeaderMap::new(), Vec::new()).await?;
        read_json(&answer)
    }

    /// Tells the admin listener to do something.
    pub(super) async fn act(&self, path: &str, asked: &Value) -> Result<Value, Failure> {
        read_json(&self.post(path, asked).await?)
    }

    /// The same for what the relay may find to be wrong: then what it says of it is the inner error.
    pub(super) async fn try_act(&self, path: &str, asked: &Value) -> Result<Result<Value, String>, Failure> {
        let answer = self.post(path, asked).await?;
        if answer.status != 422 {
            return read_json(&answer).map(Ok);
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(Err(said["error"].as_str().unwrap_or("the relay gave no reason").to_owned()))
    }

    async fn post(&self, path: &str, asked: &Value) -> Result<Answer, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(WRITE_HEADER, HeaderValue::from_static("1"));
        let url = format!("{}{path}", self.admin);
        self.call(Method::POST, &url, headers, asked.to_string().into_bytes()).await
    }

    async fn call(&self, method: Method, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Failure> {
        let url = parse_url(url).map_err(|message| Failure::new(FAILED, message))?;
        let address = url.origin().ascii_serialization();
        let called = self
            .client
            .call(Call { method, url, headers, body: Bytes::from(body), answer_bytes_max: ANSWER_BYTES_MAX })
            .await;
        called.map_err(|error| {
            Failure::new(FAILED, format!("no relay answers at {address} ({error}): is it running with this config?"))
        })
    }
}

/// The query of a list: what was given of some parameters.
pub(super) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(key, value)| Some(format!("{key}={}", step((*value)?))));
    let given: Vec<_> = given.collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// What stands for itself in a URL (RFC 3986, section 2.3), so names and ids do.
const RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name as a step of a path, or a value in a query.
pub(super) fn step(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, RESERVED).to_string()
}

fn read_json(answer: &Answer) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(&answer.body).map_err(|_| {
        Failure::new(FAILED, format!("the relay answered {} with something that is not JSON", answer.status))
    })?;
    match answer.status {
        200 => Ok(value),
        status => Err(Failure::new(
            FAILED,
            format!("the relay answered {status}: {}", value["error"].as_str().unwrap_or("no reason")),
        )),
    }
}

/// The path of a source's hook, its token in it.
pub(super) fn hook_path(source: &Source) -> String {
    match &source.auth {
        Auth::Token(tokens) => {
            format!("/hooks/{}/{}", source.name, tokens.first().map(|token| token.expose()).unwrap_or_default())
        }
        Auth::Basic(_) | Auth::Header { .. } => format!("/hooks/{}", source.name),
    }
}

/// An address that listens on everything is reached at loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        ip if ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
    }
}
