//! A mail server for tests, on threads of its own. It speaks SMTP strictly: what comes in the wrong order, or without CRLF, is an error, and
//! what its script says comes before what it would say itself.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{PATIENCE, eventually};

/// The only user.
pub const LOGIN: &str = "relay:s3cret-of-smtp";

/// In the place of words: it closes the connection.
pub const HANGS_UP: &str = "";

/// In the place of words to DATA: it takes one line of the message, and closes the connection.
pub const HANGS_UP_WITHIN: &str = "354 one line";

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Who the client said it is.
    pub hello: String,
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub is_encrypted: bool,
    pub is_logged_in: bool,
}

impl Mail {
    /// A header, its folded lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.data.split_once("\r\n\r\n")?;
        let unfolded = head.replace("\r\n ", " ");
        let of =
            |line: &str| Some(line.split_once(": ")?.1.to_owned()).filter(|_| line.starts_with(&format!("{name}: ")));
        unfolded.split("\r\n").find_map(of)
    }

    /// What stands behind the headers.
    pub fn body(&self) -> &str {
        self.data.split_once("\r\n\r\n").expect("a head and a body").1
    }
}

/// How it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// In the clear, with STARTTLS.
    StartTls,
    /// In the clear, without.
    InTheClear,
    /// By TLS.
    Encrypted,
    /// It takes connections and never says a word.
    Silent,
}

#[derive(Default)]
struct State {
    mails: Vec<Mail>,
    /// What is said next to a command, by its first word; to RCPT by the address.
    script: HashMap<String, VecDeque<&'static str>>,
    errors: Vec<String>,
    connections: usize,
}

/// The server.
pub struct MailServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl MailServer {
    pub fn start(begins: Begins) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || {
                    Session { state, begins, is_encrypted: false, has_greeted: false }.serve(stream)
                });
            }
        });
        Self { address, state }
    }

    /// What it says next to a command (`EHLO`, `AUTH`, `MAIL`, `DATA`, `.`) or to a recipient, or [`HANGS_UP`].
    pub fn says(&self, to: &str, lines: impl IntoIterator<Item = &'static str>) {
        self.state.lock().expect("the lock").script.entry(to.to_owned()).or_default().extend(lines);
    }

    pub fn mails(&self) -> Vec<Mail> {
        let state = self.state.lock().expect("the lock");
        assert!(state.errors.is_empty(), "{:?}", state.errors);
        state.mails.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().expect("the lock").connections
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        eventually("the mail", async || self.mails().len() >= count).await;
        self.mails()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

struct Session {
    state: Arc<Mutex<State>>,
    begins: Begins,
    is_encrypted: bool,
    has_greeted: bool,
}

impl Session {
    fn serve(mut self, stream: TcpStream) {
        self.state.lock().expect("the lock").connections += 1;
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        match self.begins {
            Begins::Silent => drop((&stream).read(&mut [0; 1])),
            Begins::Encrypted => self.encrypted(stream),
            Begins::StartTls | Begins::InTheClear => {
                let plain = stream.try_clone().expect("cloned");
                if self.talk(plain) {
                    self.encrypted(stream);
                }
            }
        }
    }

    fn encrypted(&mut self, stream: TcpStream) {
        let certificates = CertificateDer::pem_slice_iter(include_bytes!("../tls/server.pem"));
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../tls/server.key")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_no_client_auth().with_single_cert(certificates, key);
        let connection = rustls::ServerConnection::new(Arc::new(config.expect("a key"))).expect("a connection");
        self.is_encrypted = true;
        self.talk(rustls::StreamOwned::new(connection, stream));
    }

    fn scripted(&self, to: &str) -> Option<&'static str> {
        self.state.lock().expect("the lock").script.get_mut(to)?.pop_front()
    }

    fn wrong(&self, line: &str) -> &'static str {
        self.state.lock().expect("the lock").errors.push(line.to_owned());
        "503 5.5.1 not now"
    }

    /// What is said to a message, which is kept if that is a yes.
    fn take(&self, mail: Mail) -> &'static str {
        let said = self.scripted(".").unwrap_or("250 2.0.0 taken");
        if said.starts_with('2') {
            self.state.lock().expect("the lock").mails.push(mail);
        }
        said
    }

    /// Talks until the end. `true`: the client goes on by TLS.
    fn talk(&mut self, stream: impl Read + Write) -> bool {
        let mut stream = BufReader::new(stream);
        let say = |stream: &mut BufReader<_>, line: &str| {
            if line == HANGS_UP {
                return false;
            }
            let stream: &mut dyn Write = BufReader::get_mut(stream);
            stream.write_all(format!("{line}\r\n").as_bytes()).and_then(|()| stream.flush()).is_ok()
        };
        if !self.has_greeted {
            self.has_greeted = true;
            if !say(&mut stream, self.scripted("hello").unwrap_or("220 test ESMTP")) {
                return false;
            }
        }
        let (mut is_known, mut is_logged_in) = (false, false);
        let (mut from, mut to) = (None, Vec::new());
        let mut hello = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            let Some(text) = line.strip_suffix("\r\n").filter(|text| !text.contains(['\r', '\n'])) else {
                self.wrong(&line);
                return false;
            };
            let word = text.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let said = match word.as_str() {
                "EHLO" => {
                    if let Some(said) = self.scripted("EHLO") {
                        if !say(&mut stream, said) {
                            return false;
                        }
                        continue;
                    }
                    text["EHLO ".len()..].clone_into(&mut hello);
                    (is_known, from) = (true, None);
                    let tls =
                        if self.begins == Begins::StartTls && !self.is_encrypted { "250-STARTTLS\r\n" } else { "" };
                    say(&mut stream, &format!("250-test\r\n{tls}250 AUTH PLAIN LOGIN"));
                    continue;
                }
                "STARTTLS" => {
                    let said = self.scripted("STARTTLS").unwrap_or("220 go on");
                    return say(&mut stream, said);
                }
                "AUTH" => {
                    let own = if is_login(text) { "235 2.7.0 welcome" } else { "535 5.7.8 who are you" };
                    let said = self.scripted("AUTH").unwrap_or(own);
                    is_logged_in = said.starts_with('2');
                    said
                }
                "MAIL" if is_known => {
                    (from, to) = (Some(text["MAIL FROM:".len()..].to_owned()), Vec::new());
                    self.scripted("MAIL").unwrap_or("250 2.1.0 ok")
                }
                "RCPT" if from.is_some() => {
                    let address = text["RCPT TO:".len()..].trim_matches(['<', '>']).to_owned();
                    let said = self.scripted(&address).unwrap_or("250 2.1.5 ok");
                    if said.starts_with('2') {
                        to.push(address);
                    }
                    said
                }
                "DATA" if !to.is_empty() => match self.scripted("DATA") {
                    Some(HANGS_UP_WITHIN) => {
                        say(&mut stream, HANGS_UP_WITHIN);
                        line.clear();
                        stream.read_line(&mut line).expect("a line");
                        return false;
                    }
                    Some(said) => said,
                    None => {
                        say(&mut stream, "354 go on");
                        let Some(data) = read_data(&mut stream) else {
                            self.wrong("a line without CRLF");
                            return false;
                        };
                        let from = from.clone().unwrap_or_default();
                        let is_encrypted = self.is_encrypted;
                        self.take(Mail { hello: hello.clone(), from, to: to.clone(), data, is_encrypted, is_logged_in })
                    }
                },
                "RSET" => "250 2.0.0 ok",
                "QUIT" => {
                    say(&mut stream, "221 2.0.0 bye");
                    return false;
                }
                _ => self.wrong(text),
            };
            if !say(&mut stream, said) {
                return false;
            }
        }
    }
}

/// Whether `AUTH PLAIN …` is that of the only user.
fn is_login(text: &str) -> bool {
    let given = text.rsplit(' ').next().unwrap_or_default();
    let given = base64::engine::general_purpose::STANDARD.decode(given).unwrap_or_default();
    String::from_utf8_lossy(&given).trim_start_matches('\0').replace('\0', ":") == LOGIN
}

/// The lines up to a dot by itself, each ending with CRLF.
fn read_data(stream: &mut impl BufRead) -> Option<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let text = line.strip_suffix("\r\n").filter(|text| !text.contains('\r'))?;
        if text == "." {
            return Some(data);
        }
        data.push_str(text.strip_prefix('.').unwrap_or(text));
        data.push_str("\r\n");
    }
}
