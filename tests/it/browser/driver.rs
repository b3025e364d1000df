//! The driver of the browsers: one chromedriver for all tests of this program, and a browser of its own for each test.
//!
//! A browser takes a second to start and shares nothing with the test before it. No more than [`BROWSERS_MAX`] run at once, since each is
//! some ten processes, and there are other tests. Nothing is left running, however the tests end: a browser ends with its test, also with
//! one that panics; and the driver with all its browsers when this program has ended, which a shell finds out by its standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Browsers at once: with two, one draws while the other starts.
const BROWSERS_MAX: usize = 2;
/// What to do where there is none.
const MISSING: &str = "the tests of the page need a browser: `make test` installs it, or do it yourself: \
                       apt-get install chromium chromium-driver";
/// How long a driver may take to be there, and a browser to end. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What starts the driver, in a process group of its own. The end of its standard input is the end of the tests.
const WATCH: &str = "chromedriver --port=0 & read -r _; kill -KILL 0";

static PLACES: Semaphore = Semaphore::const_new(BROWSERS_MAX);
static DRIVER: OnceCell<Driver> = OnceCell::const_new();

/// A chromedriver.
struct Driver {
    port: u16,
    /// Holds the standard input.
    _watch: Child,
}

impl Driver {
    fn start() -> Self {
        assert!(is_there("chromedriver"), "{MISSING}");
        let mut command = Command::new("sh");
        command.args(["-c", WATCH]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut watch = command.spawn().expect("a shell");
        let said = BufReader::new(watch.stdout.take().expect("piped"));
        let (told, tells) = mpsc::channel();
        // What it says later is read too, so that it never waits for a reader.
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let port = line.rsplit_once("on port ").map(|(_, port)| port.trim_end_matches('.').parse());
                if let (true, Some(Ok(port))) = (line.contains("successfully"), port) {
                    let _ = told.send(port);
                }
            }
        });
        let port = tells.recv_timeout(PATIENCE).expect("chromedriver says its port");
        Self { port, _watch: watch }
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Where pictures of the page are written: `target/tmp/page`.
pub fn pictures() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// A browser, for one test.
pub struct Browser {
    pub client: Client,
    port: u16,
    session: String,
    is_closed: bool,
    _profile: TempDir,
    _place: SemaphorePermit<'static>,
}

impl Browser {
    /// Starts one, when there is a place for it.
    pub async fn start() -> Self {
        let place = PLACES.acquire().await.expect("never closed");
        let driver =
            DRIVER.get_or_init(async || tokio::task::spawn_blocking(Driver::start).await.expect("a driver")).await;
        let profile = tempfile::tempdir().expect("a directory");
        let args = [
            "--headless",
            // Its pages are ours, and root has no other way.
            "--no-sandbox",
            "--disable-gpu",
            // Containers have little there.
            "--disable-dev-shm-usage",
            // No questions, and nothing that asks its maker for news.
            "--no-first-run",
            "--disable-background-networking",
            "--disable-extensions",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        // Else it begins with a page of its own, which takes longer than all of ours.
        let prefs = json!({ "session.restore_on_startup": 4, "session.startup_urls": ["about:blank"] });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args, "prefs": prefs },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "unhandledPromptBehavior": "ignore",
        });
        let Value::Object(wanted) = wanted else { unreachable!("it is one") };
        let address = format!("http://127.0.0.1:{}", driver.port);
        let mut client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let connected = client.capabilities(wanted).connect(&address).await;
        let client = connected.unwrap_or_else(|error| panic!("the browser does not start ({error}); {MISSING}"));
        let session = client.session_id().await.expect("asked").expect("a session");
        Self { client, port: driver.port, session, is_closed: false, _profile: profile, _place: place }
    }

    /// Ends it.
    pub async fn close(mut self) {
        self.is_closed = true;
        self.client.clone().close().await.expect("closed");
    }

    /// One request to the driver, without a runtime: a test that panics has none for long.
    fn ask(&self, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
        let (port, session) = (self.port, &self.session);
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(&stream, "{method} /session/{session}{path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n")?;
        // It keeps the connection open, so the length alone says where the answer ends.
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        Ok(body)
    }

    /// What a test that fails leaves behind: what the page looked like.
    fn picture(&self) -> Option<Vec<u8>> {
        let answer: Value = serde_json::from_slice(&self.ask("GET", "/screenshot").ok()?).ok()?;
        BASE64_STANDARD.decode(answer["value"].as_str()?).ok()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        if let Some(picture) = self.picture() {
            let name = std::thread::current().name().unwrap_or("page").replace("::", "-");
            let path = pictures().join(format!("failed-{name}.png"));
            if std::fs::write(&path, picture).is_ok() {
                eprintln!("what the page looked like: {}", path.display());
            }
        }
        let _ = self.ask("DELETE", "");
    }
}
