//! Who owns a strict Slack answers for what it refused: a refusal that no test asked for fails the test, and all are added up in a file.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::{Asked, Reply, Strict};
use crate::destination::client::{Answer, Client};

/// Where each owner writes a line, below the directory of the package.
pub const LEDGER: &str = "target/tmp/strict-slack.ndjson";

/// A strict Slack that is looked at when its owner goes.
#[derive(Debug)]
pub struct Watched(Arc<Mutex<Strict>>);

/// The same for those who answer by it.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Mutex<Strict>>);

impl Watched {
    pub fn new(strict: Strict) -> Self {
        Self(Arc::new(Mutex::new(strict)))
    }

    pub fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    pub fn lock(&self) -> MutexGuard<'_, Strict> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client whose every request this Slack answers, by tokio's clock: under a paused one a destination runs in no time.
    pub fn client(&self) -> Client {
        self.client_that_loses(Arc::default())
    }

    /// The same, whose answers are lost while `loses` says so.
    pub fn client_that_loses(&self, loses: Arc<AtomicBool>) -> Client {
        let (handle, start) = (self.handle(), tokio::time::Instant::now());
        Client::scripted(move |call| {
            let header = |name| call.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
            let [content_type, authorization] = [http::header::CONTENT_TYPE, http::header::AUTHORIZATION].map(header);
            let asked = Asked {
                method: call.method.as_str(),
                path: call.url.path(),
                content_type,
                authorization,
                body: &call.body,
            };
            let answer = answer(handle.answer(start.elapsed(), asked));
            (!loses.load(Ordering::Relaxed)).then_some(answer)
        })
    }

    /// Fails where anything was refused that nobody asked for.
    ///
    /// # Panics
    ///
    /// With the refusals.
    pub fn judge(&self) {
        let refused = self.lock().refusals().to_vec();
        assert!(refused.is_empty(), "a strict Slack refused what no test asked it to: {refused:#?}");
    }
}

impl Handle {
    pub fn answer(&self, now: std::time::Duration, asked: Asked<'_>) -> Reply {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answer(now, asked)
    }
}

fn answer(reply: Reply) -> Answer {
    let mut headers = http::HeaderMap::new();
    for (name, value) in reply.headers {
        headers.insert(name, value.parse().expect("its headers are plain"));
    }
    Answer { status: reply.status, headers, body: reply.body.into() }
}

impl Drop for Watched {
    fn drop(&mut self) {
        write_line(&self.lock());
        if !std::thread::panicking() {
            self.judge();
        }
    }
}

/// A line for what one of them saw. It is written whole, so those of several processes do not mix; and a ledger that cannot be
/// written fails nothing.
fn write_line(strict: &Strict) {
    let owner = std::thread::current().name().unwrap_or("a thread").to_owned();
    let (requests, refused, asked) = (strict.requests(), strict.refusals().len(), strict.asked());
    let line = json!({ "owner": owner, "requests": requests, "refused": refused, "asked": asked });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LEDGER);
    let directory = path.parent().map(std::fs::create_dir_all);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let (Some(Ok(())), Ok(mut file)) = (directory, file) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Adds up a ledger: how many there were, their requests, what they refused and nobody had asked for, and what somebody had.
pub fn sum(ledger: &str) -> [u64; 4] {
    let mut sum = [0; 4];
    for line in ledger.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let of = |key: &str| line[key].as_u64().unwrap_or_default();
        for (sum, count) in sum.iter_mut().zip([1, of("requests"), of("refused"), of("asked")]) {
            *sum += count;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::client::Call;

    fn call(body: &'static str) -> Call {
        let url = crate::destination::client::parse_url("http://127.0.0.1:1/T/B/x").expect("a URL");
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        Call { method: http::Method::POST, url, headers, body: body.into(), answer_bytes_max: 100 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_answered_without_a_socket_by_the_clock_that_is_paused() {
        let watched = Watched::new(Strict::new());
        watched.lock().ask_for("rate_limited");
        let client = watched.client();
        let mut said = Vec::new();
        for _ in 0..3 {
            said.push(client.call(call(r#"{"text":"x"}"#)).await.expect("an answer").status);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        said.push(client.clone().call(call(r#"{"text":"x"}"#)).await.expect("an answer").status);
        assert_eq!(said, [200, 200, 429, 200]);
    }

    #[test]
    fn who_owns_one_that_refused_fails() {
        let own = || {
            let watched = Watched::new(Strict::new());
            let asked = Asked {
                method: "POST",
                path: "/x",
                content_type: Some("application/json"),
                authorization: None,
                body: b"{}",
            };
            watched.handle().answer(std::time::Duration::ZERO, asked);
            // It goes without a look at its end, which would write down what this test wants.
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watched.judge())).is_err();
            watched.lock().forget();
            failed
        };
        assert!(own());
    }

    #[test]
    fn lines_of_a_ledger_are_added_up() {
        let ledger = "{\"owner\":\"a\",\"requests\":3,\"refused\":0,\"asked\":1}\nhalf a li\n{\"requests\":4,\"refused\":2,\"asked\":0}\n";
        assert_eq!(sum(ledger), [2, 7, 2, 1]);
    }
}
