//! Host names → addresses, by the system's resolver, on threads of their own.
//!
//! A name server that does not answer holds `getaddrinfo` for as long as it likes, and nothing can end it. So look-ups never run where
//! anything else runs: each has a thread to itself, one at a time for each name. Who asks waits no longer than [`LOOKUP_TIMEOUT`]; the
//! thread ends when it ends, and hands its late answer to whoever asks next.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::time::Instant;

/// How long an attempt waits for a look-up. Below the time to connect, so that the reason says which of the two it was.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// Look-ups that have not ended, each with a thread. More names than this are in no config whose name server is to be saved by trying.
const LOOKUPS_MAX: usize = 512;
/// The system's resolver may load modules; half a megabyte is what the smallest of its callers have.
const STACK_BYTES: usize = 512 << 10;
/// An answer that came when nobody waited any more is good for this long.
const LATE_ANSWER_KEPT: Duration = Duration::from_secs(60);

/// Finds the addresses of a host. It may block.
pub type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// All look-ups of the process. A clone shares them.
#[derive(Clone)]
pub struct Lookups {
    resolve: Arc<Resolve>,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

enum Known {
    /// A thread is at it.
    Running(watch::Receiver<Option<Found>>),
    /// The answer came late.
    Late(Vec<IpAddr>, Instant),
}

type Found = Result<Vec<IpAddr>, Arc<str>>;

/// A name that has no addresses just now.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The resolver says so.
    #[error("the name `{name}` could not be looked up: {why}")]
    Failed {
        name: String,
        /// What the resolver says.
        why: Arc<str>,
    },
    /// The resolver says nothing.
    #[error("the name `{0}` could not be looked up within {LOOKUP_TIMEOUT:?}: no name server answers")]
    TimedOut(String),
    /// Too many others are waited for.
    #[error("the name `{0}` was not looked up: {LOOKUPS_MAX} look-ups of other names have not ended")]
    TooMany(String),
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

/// The system's resolver: files, DNS, and whatever else nsswitch.conf names.
pub fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Lookups {
    /// Look-ups by a resolver.
    pub fn new(resolve: Arc<Resolve>) -> Self {
        Self { resolve, known: Arc::default() }
    }

    /// The addresses of a host.
    pub async fn find(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        // To DNS, upper and lower case are one, and so are its names.
        let name = name.to_ascii_lowercase();
        let mut answer = match self.begin(&name)? {
            Begun::Known(addresses) => return Ok(addresses),
            Begun::Running(answer) => answer,
        };
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, answer.wait_for(Option::is_some)).await;
        let found = match found {
            Ok(Ok(found)) => found.clone(),
            // The thread ended without an answer, which only a panic of the resolver can do.
            Ok(Err(_)) => Some(Err("the resolver gave no answer".into())),
            Err(_) => None,
        };
        match found {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(why)) => Err(LookupError::Failed { name, why }),
            None => Err(LookupError::TimedOut(name)),
        }
    }

    fn begin(&self, name: &str) -> Result<Begun, LookupError> {
        let now = Instant::now();
        let mut known = lock(&self.known);
        match known.get(name) {
            Some(Known::Running(answer)) => return Ok(Begun::Running(answer.clone())),
            Some(Known::Late(addresses, at)) => {
                let addresses = (now - *at < LATE_ANSWER_KEPT).then(|| addresses.clone());
                known.remove(name);
                if let Some(addresses) = addresses {
                    return Ok(Begun::Known(addresses));
                }
            }
            None => {}
        }
        known.retain(|_, known| !matches!(known, Known::Late(_, at) if now - *at >= LATE_ANSWER_KEPT));
        if known.len() >= LOOKUPS_MAX {
            return Err(LookupError::TooMany(name.to_owned()));
        }
        let (sender, answer) = watch::channel(None);
        let job = Job { lookups: self.clone(), name: name.to_owned(), sender };
        let thread = std::thread::Builder::new().name("look-up".to_owned()).stack_size(STACK_BYTES);
        known.insert(name.to_owned(), Known::Running(answer.clone()));
        if let Err(error) = thread.spawn(move || job.run()) {
            known.remove(name);
            let why = format!("no thread could be had: {error}");
            return Err(LookupError::Failed { name: name.to_owned(), why: why.into() });
        }
        Ok(Begun::Running(answer))
    }
}

enum Begun {
    Known(Vec<IpAddr>),
    Running(watch::Receiver<Option<Found>>),
}

/// One look-up on its thread.
struct Job {
    lookups: Lookups,
    name: String,
    sender: watch::Sender<Option<Found>>,
}

impl Job {
    fn run(self) {
        let found = (self.lookups.resolve)(&self.name);
        let found = found.map_err(|error| cause(&error).into());
        let mut known = lock(&self.lookups.known);
        // The map's own receiver goes; those that stay belong to who waits.
        known.remove(&self.name);
        let is_waited_for = self.sender.receiver_count() > 0;
        match &found {
            Ok(addresses) if !is_waited_for => {
                known.insert(self.name.clone(), Known::Late(addresses.clone(), Instant::now()));
            }
            _ => drop(self.sender.send_replace(Some(found))),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // After a panic of the resolver the name is not taken for being looked up for ever.
        if std::thread::panicking() {
            lock(&self.lookups.known).remove(&self.name);
        }
    }
}

/// What the resolver says, without what `std` puts before it.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").map(str::to_owned).unwrap_or(text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl reqwest::dns::Resolve for Lookups {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let lookups = self.clone();
        Box::pin(async move {
            let addresses = lookups.find(name.as_str()).await?;
            // The port is the URL's.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    /// A resolver that answers once its gate is open, for names that begin with `hung`, and at once for others.
    #[derive(Default)]
    struct Fake {
        is_open: Mutex<bool>,
        opened: Condvar,
        asked: AtomicUsize,
        ended: AtomicUsize,
    }

    impl Fake {
        fn lookups(self: &Arc<Self>) -> Lookups {
            let fake = self.clone();
            Lookups::new(Arc::new(move |name: &str| {
                fake.asked.fetch_add(1, Ordering::SeqCst);
                if name.starts_with("hung") {
                    let is_open = lock(&fake.is_open);
                    drop(fake.opened.wait_while(is_open, |is_open| !*is_open));
                }
                let found = match name {
                    "nobody.example" => Err(io::Error::other("Name or service not known")),
                    "panics.example" => panic!("on purpose"),
                    _ => Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]),
                };
                fake.ended.fetch_add(1, Ordering::SeqCst);
                found
            }))
        }

        fn open(&self) {
            *lock(&self.is_open) = true;
            self.opened.notify_all();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_holds_no_other_and_one_thread_alone() {
        let fake = Arc::new(Fake::default());
        let lookups = fake.lookups();
        let hung = (0..100).map(|_| lookups.find("hung.example"));
        let hung = futures_util::future::join_all(hung).await;
        assert!(hung.iter().all(|found| matches!(found, Err(LookupError::TimedOut(_)))), "{hung:?}");
        // No time has passed for the thread, which may not have begun.
        while fake.asked.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        tokio::time::resume();
        lookups.find("other.example").await.expect("found while the other hangs");
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2, "one for all who ask, and the other");
        fake.open();
    }

    #[tokio::test]
    async fn a_late_answer_goes_to_who_asks_next_and_to_nobody_later() {
        let fake = Arc::new(Fake::default());
        let lookups = fake.lookups();
        {
            let asked = lookups.find("hung.example");
            tokio::pin!(asked);
            assert!(asked.as_mut().now_or_never().is_none());
        }
        fake.open();
        let is_late = || matches!(lock(&lookups.known).get("hung.example"), Some(Known::Late(..)));
        while !is_late() {
            tokio::task::yield_now().await;
        }
        lookups.find("HUNG.example").await.expect("the late answer");
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
        lookups.find("hung.example").await.expect("a new one");
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_the_resolver_says_is_told_with_the_name() {
        let lookups = Arc::new(Fake::default()).lookups();
        let told = lookups.find("nobody.example").await.expect_err("there is none").to_string();
        assert_eq!(told, "the name `nobody.example` could not be looked up: Name or service not known");
        for _ in 0..2 {
            lookups.find("panics.example").await.expect_err("no answer");
        }
        assert!(lock(&lookups.known).is_empty(), "nothing stays of a look-up that ended");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many_threads() {
        let fake = Arc::new(Fake::default());
        let lookups = fake.lookups();
        let asked = (0..LOOKUPS_MAX + 1).map(|i| {
            let lookups = &lookups;
            async move { lookups.find(&format!("hung{i}.example")).await }
        });
        let found = futures_util::future::join_all(asked).await;
        assert!(matches!(found.last(), Some(Err(LookupError::TooMany(_)))));
        fake.open();
    }
}
