//! Talking to a running relay, from the verbs that look into one.
//!
//! They need nothing but the address of its admin listener: neither the variables of its config nor a config without slips. A relay
//! that does not answer is noticed within seconds, however long the work may take that it was asked for: while one request waits,
//! another asks whether it is alive. What answers without [`RELAY_HEADER`] is something else that listens there. [`listening`]: what a relay says
//! by itself, frame by frame.
//!
//! A token comes from a variable, or from the config by which the relay is found: never from an argument, which others on the machine can
//! read, and that of a config goes to no address but the config's.

mod listening;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

pub(super) use self::listening::{Frame, Listening, NoStream};
use super::terminal::plain;
use super::{BAD_CONFIG, FAILED, Failure, USAGE, find_config};
use crate::admin::{RELAY_HEADER, WRITE_HEADER};
use crate::config::{self, Auth, Config, Source, WayIn};
use crate::destination::client::{
    Answer, Call, Cause, Client, NoAnswer, Url, basic_authorization, is_loopback, parse_url,
};
use crate::listener::tls::TLS_ALONE;
use crate::secret::Secret;
use crate::yaml::values::Process;

/// The relay's own answers hold whole events.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// After this without an answer the relay is asked whether it is alive, and again and again.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// What is alive says so in this time, however busy it is.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// A look takes no longer than this; what takes long is what changes something.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Nothing takes longer than this: a copy of a large store may take minutes.
const ACT_MAX: Duration = Duration::from_secs(60 * 60);

/// The status by which a relay says that what is asked for is wrong; for `send`, that the event is not valid.
const WRONG: u16 = 400;
/// The statuses by which a relay refuses who asks, or knows nothing of what is named: the token, the address or a name has to change first.
const REFUSED: [u16; 4] = [401, 403, 404, 421];

/// Which relay a verb looks into.
#[derive(Debug, clap::Args)]
pub(super) struct At {
    /// The admin listener of the relay; $VERO_RELAY_ADMIN_TOKEN holds its token [default: what the config says]
    #[arg(long, env = "VERO_RELAY_ADMIN", hide_env_values = true, value_name = "URL")]
    admin: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(super) json: bool,
}

impl At {
    /// The relay with this address.
    pub(super) fn named(admin: &str, json: bool) -> Self {
        Self { admin: Some(admin.to_owned()), json }
    }
}

/// Holds the token that a relay wants.
const TOKEN_VARIABLE: &str = "VERO_RELAY_ADMIN_TOKEN";

/// A running relay, as its config says where it is.
pub(super) struct RunningRelay {
    client: Client,
    /// The same for loopback, where the relay is the config's own.
    local: Option<Client>,
    /// Where webhooks come in; without a slash at its end, as the next.
    hooks: String,
    admin: String,
    token: Option<Token>,
}

/// What a relay may want to see, and who says it.
struct Token {
    value: HeaderValue,
    said: &'static str,
}

impl Token {
    /// The one of the environment, or else another.
    fn or(of_config: Option<&Secret>) -> Result<Option<Self>, Failure> {
        let of_environment = std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.is_empty());
        let (text, said) = match (&of_environment, of_config) {
            (Some(text), _) => (text.as_str(), "in $VERO_RELAY_ADMIN_TOKEN"),
            (None, Some(secret)) => (secret.expose(), "of the config"),
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| Failure::new(USAGE, format!("the token {said} has a sign that no token has")))?;
        value.set_sensitive(true);
        Ok(Some(Self { value, said }))
    }
}

/// The beginning of a URL at a listener of this machine's.
fn base(address: SocketAddr, has_tls: bool) -> String {
    format!("{}{}", if has_tls { "https://" } else { "http://" }, reachable(address))
}

impl RunningRelay {
    pub(super) fn of(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::direct(),
            local: Some(Client::on_this_machine()),
            hooks: base(config.listen, config.tls.is_some()),
            admin: base(config.admin.listen, config.admin.tls.is_some()),
            token: Token::or(config.admin.tokens.first())?,
        })
    }

    /// The relay that a verb's options name, or the one of the config.
    pub(super) fn at(named: Option<&Path>, at: &At) -> Result<Self, Failure> {
        // Containers set variables to nothing where they mean none.
        let hooks = String::new();
        match at.admin.as_ref().filter(|text| !text.is_empty()) {
            Some(text) => {
                // What is no URL of the relay's may hold a password.
                let shown = if text.contains('@') { "…" } else { text.as_str() };
                let url = parse_url(text).map_err(|why| {
                    Failure::new(USAGE, format!("--admin or $VERO_RELAY_ADMIN is `{}`: {why}", plain(shown)))
                })?;
                let admin = url.as_str().trim_end_matches('/').to_owned();
                Ok(Self { client: Client::direct(), local: None, hooks, admin, token: Token::or(None)? })
            }
            None => {
                let (listen, way_in) = way_in(named)?;
                let token = Token::or(way_in.token.as_ref())?;
                let local = Some(Client::on_this_machine());
                Ok(Self { client: Client::direct(), local, hooks, admin: base(listen, way_in.has_tls), token })
            }
        }
    }

    /// Asks a health check; gives its sentence, or why the relay is not well.
    pub(super) async fn health(&self, path: &str) -> Result<String, Failure> {
        let url = format!("{}{path}", self.admin);
        let answer = self.call(Method::GET, &url, HeaderMap::new(), Vec::new()).await?;
        self.must_be_relay(&answer)?;
        let said = plain(String::from_utf8_lossy(&answer.body).trim());
        if answer.status == 200 { Ok(said) } else { Err(Failure::new(FAILED, said)) }
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
        let url = format!("{}{}", self.hooks, hook_path(source));
        self.call(Method::POST, &url, headers, body).await
    }

    /// Has an event let in by the admin listener, as a source or as the first; the answer is the one that its sender would get.
    pub(super) async fn let_in(&self, source: Option<&str>, body: &[u8]) -> Result<Answer, Failure> {
        let event = std::str::from_utf8(body).map_err(|error| {
            let why = format!("the event is not UTF-8 from byte {} on, and JSON is UTF-8", error.valid_up_to());
            Failure::new(FAILED, why)
        })?;
        let mut asked = serde_json::json!({ "event": event });
        if let Some(source) = source {
            asked["source"] = source.into();
        }
        let answer = self.post("/api/send", &asked).await?;
        self.must_be_relay(&answer)?;
        if !REFUSED.contains(&answer.status) {
            return Ok(answer);
        }
        Err(self.read_json(&answer).err().unwrap_or_else(|| Failure::new(FAILED, "the relay let nothing in")))
    }

    /// Asks the admin listener.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.admin);
        let answer = self.call(Method::GET, &url, self.proof(), Vec::new()).await?;
        self.read_json(&answer)
    }

    /// Listens to what the relay says by itself.
    pub(super) async fn listen(&self, path: &str) -> Result<Listening, NoStream> {
        let url = format!("{}{path}", self.admin);
        let url = parse_url(&url).map_err(|message| NoStream::Refused(Failure::new(FAILED, message)))?;
        let address = url.origin().ascii_serialization();
        let client = self.client_to(&url);
        let call = Call {
            method: Method::GET,
            url,
            headers: self.proof(),
            body: Bytes::new(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let opened = tokio::select! {
            opened = client.stream(call) => opened,
            failure = self.until_silent() => return Err(NoStream::Away(failure)),
        };
        let streaming = opened.map_err(|error| NoStream::Away(unreachable(&address, &error)))?;
        if streaming.status() == 200 && streaming.header(RELAY_HEADER).is_some() {
            return Ok(Listening::to(streaming));
        }
        let answer = streaming.whole().await;
        // It is never what was asked for.
        let failure = match self.read_json(&answer) {
            Ok(_) => Failure::new(FAILED, "the relay answered with something else than a stream"),
            Err(failure) => failure,
        };
        // What a proxy says while no relay is there is not the relay's word.
        let is_refused = answer.status == WRONG || REFUSED.contains(&answer.status);
        let is_final = is_refused && answer.header(RELAY_HEADER).is_some();
        Err(if is_final { NoStream::Refused(failure) } else { NoStream::Away(failure) })
    }

    /// Tells the admin listener to do something.
    pub(super) async fn act(&self, path: &str, asked: &Value) -> Result<Value, Failure> {
        self.read_json(&self.post(path, asked).await?)
    }

    /// The same for what the relay may find to be wrong: then what it says of it is the inner error.
    pub(super) async fn try_act(&self, path: &str, asked: &Value) -> Result<Result<Value, String>, Failure> {
        let answer = self.post(path, asked).await?;
        self.must_be_relay(&answer)?;
        if answer.status != 422 {
            return self.read_json(&answer).map(Ok);
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(Err(said["error"].as_str().unwrap_or("the relay gave no reason").to_owned()))
    }

    async fn post(&self, path: &str, asked: &Value) -> Result<Answer, Failure> {
        let mut headers = self.proof();
        headers.insert(WRITE_HEADER, HeaderValue::from_static("1"));
        let url = format!("{}{path}", self.admin);
        self.call(Method::POST, &url, headers, asked.to_string().into_bytes()).await
    }

    fn client_to(&self, url: &Url) -> &Client {
        self.local.as_ref().filter(|_| is_loopback(url)).unwrap_or(&self.client)
    }

    /// What says who asks.
    fn proof(&self) -> HeaderMap {
        let value = self.token.as_ref().map(|token| token.value.clone());
        let proof = value.into_iter().map(|value| (http::header::AUTHORIZATION, value));
        // A program that reads JSON gets it on one line.
        proof.chain([(http::header::ACCEPT, HeaderValue::from_static("application/json"))]).collect()
    }

    /// Makes a request, and gives up when the relay is not there any more.
    async fn call(&self, method: Method, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Failure> {
        let longest = if method == Method::GET { LOOK_MAX } else { ACT_MAX };
        let url = parse_url(url).map_err(|message| Failure::new(FAILED, message))?;
        let address = url.origin().ascii_serialization();
        let client = self.client_to(&url);
        let call = Call { method, url, headers, body: Bytes::from(body), answer_bytes_max: ANSWER_BYTES_MAX };
        tokio::select! {
            answer = client.call(call) => answer.map_err(|error| unreachable(&address, &error)),
            failure = self.until_silent() => Err(failure),
            () = tokio::time::sleep(longest) => {
                Err(Failure::new(FAILED, format!("{address} is alive and has not answered this within {longest:?}")))
            }
        }
    }

    /// Resolves when the relay does not say any more that it is alive.
    async fn until_silent(&self) -> Failure {
        let silent = || {
            let why = "accepts connections and does not answer. Is it a vero-relay, and is it stopped or overloaded?";
            Failure::new(FAILED, format!("{} {why}", self.admin))
        };
        loop {
            tokio::time::sleep(ALIVE_EVERY).await;
            let Ok(url) = parse_url(&format!("{}/healthz", self.admin)) else { return silent() };
            let method = Method::GET;
            let headers = HeaderMap::new();
            let body = Bytes::new();
            let alive = self.client_to(&url).call(Call { method, url, headers, body, answer_bytes_max: 1 << 10 });
            match tokio::time::timeout(ALIVE_WITHIN, alive).await {
                Ok(Ok(answer)) if answer.status == 200 => {}
                _ => return silent(),
            }
        }
    }

    /// What to do where it does not let in.
    fn help(&self, status: u16) -> Option<String> {
        Some(match (status, &self.token) {
            (401, None) => format!("set {TOKEN_VARIABLE} to the token under `admin:` in its config"),
            (401, Some(Token { said, .. })) => format!("is the token {said} one of those that it runs with?"),
            (421, _) => {
                "name it by --admin as it is known, or have it add this name to `hosts` under `admin:`".to_owned()
            }
            _ => return None,
        })
    }

    fn must_be_relay(&self, answer: &Answer) -> Result<(), Failure> {
        if answer.header(RELAY_HEADER).is_some() {
            return Ok(());
        }
        if String::from_utf8_lossy(&answer.body).contains(TLS_ALONE) {
            return Err(Failure::new(FAILED, format!("{}: {TLS_ALONE}", self.admin)));
        }
        let why = "what answers there is no vero-relay, or one that is older than this program";
        Err(Failure::new(FAILED, format!("{}: {why}", self.admin)))
    }

    fn read_json(&self, answer: &Answer) -> Result<Value, Failure> {
        self.must_be_relay(answer)?;
        let status = answer.status;
        let value: Value = serde_json::from_slice(&answer.body).map_err(|_| {
            Failure::new(FAILED, format!("the relay answered {status}, and the answer is cut off or is not JSON"))
        })?;
        match status {
            200 if value.is_object() => Ok(value),
            200 => Err(Failure::new(FAILED, "the relay answered with something else than a JSON object")),
            _ => {
                let why = value["error"].as_str().unwrap_or("no reason");
                // Several lines where it shows problems of a config.
                let why: Vec<_> = why.lines().map(plain).collect();
                let help = self.help(status).map(|help| format!("; {help}")).unwrap_or_default();
                Err(Failure::new(FAILED, format!("the relay answered {status}: {}{help}", why.join("\n"))))
            }
        }
    }
}

fn unreachable(address: &str, error: &NoAnswer) -> Failure {
    let help = match error.cause {
        Cause::AnotherName => Some("name the relay by --admin https://NAME:PORT, with a name that the certificate has"),
        Cause::UnknownIssuer => {
            Some("name the file of a private CA, or of a self-signed certificate, in SSL_CERT_FILE")
        }
        Cause::IsCa => Some("a server needs one of its own, made with CA:FALSE; in SSL_CERT_FILE there may be any"),
        Cause::WantsOurs => Some("name an address of it where no certificate is wanted: this program has none"),
        Cause::Certificate => error.help,
        Cause::NotSpoken => Some("name it by --admin http://…, or encrypt it by `tls` under `admin:` in its config"),
        Cause::Other => None,
    };
    if let Some(help) = help {
        let why = &error.what;
        return Failure::new(FAILED, format!("{address} does not show that it is the relay ({why}): {help}"));
    }
    Failure::new(FAILED, format!("no relay answers at {address} ({error}). Is it running, and is this its address?"))
}

/// The address of the admin listener by the config, and what else it takes to get in. Nothing else of it needs to be good.
fn way_in(named: Option<&Path>) -> Result<(SocketAddr, WayIn), Failure> {
    let help = "name the relay by --admin, like --admin http://127.0.0.1:8081";
    let path = find_config(named).map_err(|error| Failure::new(BAD_CONFIG, format!("{error}; or {help}")))?;
    match config::way_in(&path, &Process) {
        Ok(way_in @ WayIn { listen: Some(listen), .. }) => Ok((listen, way_in)),
        Ok(WayIn { listen: None, .. }) => {
            let file = plain(&path.display().to_string());
            Err(Failure::new(BAD_CONFIG, format!("`admin.listen` of {file} cannot be read just now: {help}")))
        }
        Err(error) => {
            let told = Failure::of(BAD_CONFIG, &error).message;
            Err(Failure::new(BAD_CONFIG, format!("{told}; {help}")))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_a_verb_is_what_a_verb_has() {
        let help = Some("name it in `ca:`; a destination has none");
        for (cause, expected) in [
            (Cause::UnknownIssuer, "SSL_CERT_FILE"),
            (Cause::IsCa, "in SSL_CERT_FILE there may be any"),
            (Cause::WantsOurs, "this program has none"),
            (Cause::AnotherName, "--admin https://NAME:PORT"),
        ] {
            let told = unreachable("https://relay:1", &NoAnswer { what: "why".to_owned(), help, cause }).message;
            assert!(told.contains(expected), "{told}");
            assert!(!told.contains("`ca:`") && !told.contains("destination"), "{told}");
        }
    }
}
