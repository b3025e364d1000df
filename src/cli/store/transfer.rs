//! `store export` and `store import`: what a store needs to go on elsewhere, written to a file and taken in from it. No relay runs meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::cli::dialogue::Progress;
use crate::cli::output::tell;
use crate::cli::terminal::{grouped, numbered, plain};
use crate::cli::{FAILED, Failure, IN_USE, STANDARD_INPUT as STANDARD_OUTPUT, USAGE, block_on};
use crate::config::Config;
use crate::store::journal::disk::RealDisk;
use crate::store::journal::{JournalStore, Location, Options, segment_bytes};
use crate::store::lock::{DataDirLock, LockError};
use crate::store::postgres::{Import, Quiet};
use crate::store::transfer::{End, Head, Line, Lines, Moved, Proved, Reading, VERSION, prove};
use crate::store::{NameKind, Store};
use crate::time::Clock;

/// Events of one batch,
const BATCH_EVENTS: usize = 512;
/// and bytes of their bodies, and one more.
const BATCH_BYTES: usize = 4 << 20;
/// Under which key a store keeps what was taken in last.
const MEMO: &str = "import";

fn failed(error: impl std::error::Error) -> Failure {
    Failure::of(FAILED, &error)
}

/// Writes what the config's store has to a file, which is made, or to standard output.
pub(super) fn export(config: &Config, to: &Path, all: bool) -> Result<(), Failure> {
    let (from, shared) = match &config.shared {
        Some(_) => ("postgres", true),
        None => ("journal", false),
    };
    if !shared && !config.data_dir.join("journal").is_dir() {
        return Err(Failure::new(FAILED, format!("{} holds no journal", config.data_dir.display())));
    }
    let is_piped = to.as_os_str() == STANDARD_OUTPUT;
    let out: Box<dyn Write + Send> = if is_piped {
        Box::new(io::stdout())
    } else {
        // It has what people sent: nobody else may read it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
        Box::new(file.map_err(|error| Failure::new(FAILED, format!("{} cannot be made: {error}", to.display())))?)
    };
    let head = Head {
        version: VERSION,
        id: uuid::Uuid::from_u128(drawn()?).to_string(),
        from: from.to_owned(),
        by: env!("CARGO_PKG_VERSION").to_owned(),
        made_ms: Clock::start().now_ms(),
        has_history: all,
    };
    let write = || {
        let mut lines = Lines::begin(BufWriter::new(out), head).map_err(failed)?;
        let unreadable =
            if shared { of_postgres(config, all, &mut lines) } else { of_journal(config, all, &mut lines) }?;
        let (_, End { events, .. }) = lines.end().map_err(failed)?;
        if !is_piped {
            File::open(to).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        Ok((events, unreadable))
    };
    let written = write();
    if written.is_err() && !is_piped {
        // What is not whole is of no use.
        let _ = std::fs::remove_file(to);
    }
    let (events, unreadable) = written?;
    if unreadable > 0 {
        tell!(
            "{} could not be read and {} left out: vero-relay store check",
            numbered(unreadable, "event"),
            if unreadable == 1 { "was" } else { "were" }
        );
    }
    tell!("{} written", numbered(events, "event"));
    Ok(())
}

fn drawn() -> Result<u128, Failure> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    let drawn = ring::rand::SystemRandom::new().fill(&mut bytes);
    drawn.map_err(|_| Failure::new(FAILED, "the system gave no random number"))?;
    Ok(u128::from_be_bytes(bytes))
}

fn of_postgres<W: Write + Send>(config: &Config, all: bool, lines: &mut Lines<W>) -> Result<u64, Failure> {
    let address = &config.shared.as_ref().expect("a shared one").address;
    block_on(async {
        let quiet = Quiet::open(address).await.map_err(failed)?;
        quiet.export(all, &mut |line| lines.write(line)).await.map_err(failed)
    })?;
    Ok(0)
}

fn of_journal<W: Write>(config: &Config, all: bool, lines: &mut Lines<W>) -> Result<u64, Failure> {
    block_on(async {
        let (store, _lock) = open(config, 0)?;
        let written = store.export(all, &mut |line| lines.write(line)).map_err(failed);
        Store::close(&store).await;
        Ok(written?.unreadable)
    })
}

/// The journal of a config that no relay uses. `first_number`: of one that is begun.
fn open(config: &Config, first_number: u64) -> Result<(JournalStore, DataDirLock), Failure> {
    let lock = DataDirLock::take(&config.data_dir).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(IN_USE, format!("{error}. Stop the relay, and ask again")),
        error => failed(error),
    })?;
    let disk = RealDisk::open(&config.data_dir.join("journal")).map_err(failed)?;
    let options = Options {
        segment_bytes: segment_bytes(&config.retention, &config.data_dir),
        retention: config.retention.clone(),
        first_number,
        ..Options::new(Location::File(config.data_dir.join("state.db")))
    };
    let (store, _) = JournalStore::open(Arc::new(disk), options).map_err(failed)?;
    Ok((store, lock))
}

/// Where events are taken in.
enum Into {
    Journal(JournalStore, DataDirLock),
    Postgres(Box<Import>),
}

impl Into {
    async fn open(config: &Config, end: &End) -> Result<Self, Failure> {
        Ok(match &config.shared {
            Some(shared) => {
                let quiet = Quiet::open(&shared.address).await.map_err(failed)?;
                Self::Postgres(Box::new(Import::begin(quiet).await.map_err(failed)?))
            }
            None => {
                let (store, lock) = open(config, end.greatest + 1)?;
                Self::Journal(store, lock)
            }
        })
    }

    async fn memo(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Journal(store, _) => store.memo(MEMO).await.map_err(failed),
            Self::Postgres(import) => import.memo().await.map_err(failed),
        }
    }

    async fn keep_memo(&self, text: String) -> Result<(), Failure> {
        match self {
            Self::Journal(store, _) => store.keep_memo(MEMO, text).await.map_err(failed),
            Self::Postgres(import) => import.keep_memo(&text).await.map_err(failed),
        }
    }

    async fn take(&mut self, batch: &[Moved]) -> Result<(), Failure> {
        match self {
            Self::Journal(store, _) => store.take_moved(batch).map_err(failed),
            Self::Postgres(import) => import.take(batch).await.map_err(failed),
        }
    }

    async fn stand(&mut self, line: &Line) -> Result<(), Failure> {
        let (kind, stands) = match line {
            Line::Source(stands) => (NameKind::Source, stands),
            Line::Destination(stands) => (NameKind::Destination, stands),
            _ => return Ok(()),
        };
        match self {
            Self::Journal(store, _) => store.take_stand(kind, stands).map_err(failed),
            Self::Postgres(import) => import.stand(kind, stands).await.map_err(failed),
        }
    }

    async fn close(self) {
        if let Self::Journal(store, _lock) = self {
            Store::close(&store).await;
        }
    }
}

/// What was taken in.
#[derive(Default)]
struct Taken {
    events: u64,
    /// Of which nothing waits any more, and which a journal does not take.
    left_out: u64,
}

/// Takes a file in that an export has written.
pub(super) fn import(config: &Config, from: &Path) -> Result<(), Failure> {
    let open = || {
        let file = File::open(from);
        file.map(BufReader::new)
            .map_err(|error| Failure::new(USAGE, format!("{} cannot be read: {error}", from.display())))
    };
    let Proved { head, end } = prove(open()?).map_err(failed)?;
    let mut reading = Reading::new(open()?);
    block_on(async {
        let mut into = Into::open(config, &end).await?;
        let taken = match into.memo().await? {
            Some(memo) if memo == head.id => None,
            _ => Some(take_all(&mut into, &mut reading, &end).await),
        };
        let kept = match &taken {
            Some(Ok(_)) => into.keep_memo(head.id.clone()).await,
            _ => Ok(()),
        };
        into.close().await;
        match taken.transpose()? {
            None => tell!("this file is in the store already, and nothing was changed"),
            Some(Taken { events, left_out }) => {
                kept?;
                tell!("{} taken in", numbered(events, "event"));
                if left_out > 0 {
                    tell!(
                        "{} of the history left out: a journal takes in only those of which something waits",
                        numbered(left_out, "event")
                    );
                }
                tell_of_unnamed(config, open()?)?;
            }
        }
        Ok(())
    })
}

async fn take_all(into: &mut Into, reading: &mut Reading<BufReader<File>>, end: &End) -> Result<Taken, Failure> {
    let progress = Progress::new();
    let (mut batch, mut bytes, mut taken) = (Vec::new(), 0, Taken::default());
    let is_journal = matches!(into, Into::Journal(..));
    while let Some(line) = reading.line().map_err(failed)? {
        match line {
            Line::Event(event) if is_journal && !event.is_open() => taken.left_out += 1,
            Line::Event(event) => {
                bytes += event.body.length();
                taken.events += 1;
                batch.push(*event);
            }
            stands => into.stand(&stands).await?,
        }
        if batch.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
            into.take(&batch).await?;
            batch.clear();
            bytes = 0;
            progress.show((taken.events + taken.left_out) as f64 / end.events.max(1) as f64, "taken in");
        }
    }
    into.take(&batch).await?;
    Ok(taken)
}

/// Says which destinations of a file the config does not have: what waits for them waits for nobody.
fn tell_of_unnamed(config: &Config, file: BufReader<File>) -> Result<(), Failure> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    let mut reading = Reading::new(file);
    while let Some(line) = reading.line().map_err(failed)? {
        let Line::Event(event) = line else { continue };
        for delivery in event.deliveries.iter().filter(|delivery| delivery.state.is_open()) {
            if !config.destinations.iter().any(|known| known.name == delivery.destination) {
                *counts.entry(delivery.destination.clone()).or_default() += 1;
            }
        }
    }
    for (name, count) in counts {
        tell!(
            "{} {} for {}, which this config does not have: it counts as removed (name it, or say `renamed_from`)",
            grouped(count),
            if count == 1 { "waits" } else { "wait" },
            plain(&name)
        );
    }
    Ok(())
}
