//! What a run does, step by step: it looks, erases, and searches.
//!
//! Looking is a walk through the store, and a second one where ids were seen by which more is meant. Erasing is walk after walk, until no
//! attempt is in flight, and a look finds nothing that is meant any more. The search reads every file.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::whom::{Question, Seen, UserIds};
use super::{Act, Got, Person, Phase, Progress, Run, USER_IDS_MAX};
use crate::event::EventId;
use crate::relay::Relay;
use crate::relay::search::{FoundIn, Searched, Unread, search, search_text};
use crate::spelled::Finder;
use crate::store::journal::JournalStore;
use crate::store::{
    DeliveryState, Depth, EVENTS_MAX, Engine, ErasingStep, Kept, NameId, SearchLimit, Standing, Store, StoreError,
};
use crate::time::Instant;

/// The file of the index, as `data_dir` has it.
const INDEX_FILE: &str = "state.db";
/// How often it is erased again what came meanwhile: who has more of them coming is told to stop them first.
const ROUNDS_MAX: usize = 3;
/// How long the end of attempts in flight is waited for, which begin and end within a destination's `timeout`; few are longer than this.
const FLIGHT_MAX: Duration = Duration::from_secs(120);
/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events that are named as mentioning somebody: who has more of them reads how many.
const NAMED_MAX: usize = 1000;
/// Bytes of the journal that are read to find out which destination has got what: all of a large one. Of what ended before them it is not known how.
const STATES_LIMIT: SearchLimit = SearchLimit { bytes_left: 1 << 30, unfound: 0 };

/// Why a run ends before its end.
enum Ended {
    Stopped,
    Failed(String),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(super) struct Work {
    pub run: Arc<Run>,
    pub relay: Arc<Relay>,
    pub store: Arc<dyn Store>,
    /// The same, for what lies in its files.
    pub engine: Engine,
    pub data_dir: PathBuf,
    pub person: Arc<Person>,
}

/// What one walk found.
#[derive(Default)]
struct Walked {
    about: Vec<EventId>,
    mentions: Vec<EventId>,
    standing: Standing,
    in_flight: u64,
    unreadable: u64,
    left_behind: Vec<String>,
}

impl Work {
    /// Does it all. It is over whatever happens: a bug must not leave a run that nobody ends.
    pub async fn do_it(self) {
        let done = Done(self.run.clone());
        let ended = match self.run.act {
            Act::Search => self.search().await,
            Act::Look => self.look().await.map(drop),
            Act::Erase => self.erase().await,
        };
        let failed = ended.err().map(|ended| match ended {
            Ended::Stopped if self.run.act == Act::Erase => {
                "it was stopped before its end: what was erased is erased; run it again for the rest".to_owned()
            }
            Ended::Stopped => "it was stopped before its end".to_owned(),
            Ended::Failed(why) => why,
        });
        self.run.change(|progress| progress.failed.clone_from(&failed));
        drop(done);
        if self.run.act == Act::Erase {
            let progress = self.run.progress();
            let (deliveries, is_proved) = (progress.ended, progress.is_proved());
            match failed {
                None => {
                    let events = progress.events;
                    tracing::info!(events, deliveries, is_proved, "what there is of a person was erased");
                }
                Some(why) => {
                    let copies = progress.erased;
                    tracing::warn!(copies, deliveries, why, "what there is of a person was not erased to the end");
                }
            }
        }
    }

    /// Counts what is meant, and gives the events and the user ids that were seen.
    async fn look(&self) -> Result<(Vec<EventId>, UserIds), Ended> {
        let mut user_ids = UserIds::default();
        loop {
            let question = Question::new(self.person.clone(), user_ids.clone());
            let walked = self.walk(Phase::Looking, &question, Depth::Look).await?;
            let Seen { user_ids: seen, other_addresses, unknown, by_user_id, mentioned, redacted } = question.seen();
            if seen.all.len() > USER_IDS_MAX {
                let why =
                    format!("this address has more than {USER_IDS_MAX} user ids: name one with user_id in its place");
                return Err(Ended::Failed(why));
            }
            // An event with no address is meant by its id alone, which may have been seen behind it.
            let is_told = unknown == 0 || seen == user_ids;
            user_ids = seen;
            if !is_told {
                continue;
            }
            let got = self.got(&walked.about).await?;
            self.run.change(|progress| {
                progress.events = walked.about.len() as u64;
                progress.standing = walked.standing;
                progress.got = got;
                progress.mentions = walked.mentions.len() as u64;
                progress.by_user_id = by_user_id.len() as u64;
                progress.meant_mentions = mentioned.len() as u64;
                let either = walked.mentions.iter().chain(&mentioned);
                progress.mentioned_in = either.take(NAMED_MAX).copied().collect();
                progress.unreadable = walked.unreadable;
                (progress.other_addresses, progress.redacted) = (other_addresses, redacted);
            });
            return Ok((walked.about, user_ids));
        }
    }

    async fn erase(&self) -> Result<(), Ended> {
        let (mut known, user_ids) = self.look().await?;
        let mut rounds = 0;
        loop {
            self.erase_known(&mut known, &user_ids).await?;
            // What came meanwhile.
            let question = Question::new(self.person.clone(), user_ids.clone());
            let left = self.walk(Phase::Erasing, &question, Depth::Look).await?;
            self.run.change(|progress| progress.unreadable = left.unreadable);
            if left.about.is_empty() {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS_MAX {
                let why =
                    "events of this person keep coming: unsubscribe or delete them in Vero first, and run it again";
                return Err(Ended::Failed(why.to_owned()));
            }
        }
        self.let_go().await;
        for id in &known {
            self.goes_on()?;
            let is_erased = match self.store.event(*id).await {
                Ok(view) => matches!(view.event, Kept::Erased(_)),
                // It went with its age.
                Err(StoreError::Missing | StoreError::Erased) => true,
                Err(error) => return Err(error.into()),
            };
            if !is_erased {
                return Err(Ended::Failed(format!("the event {id} can still be read: run it again")));
            }
        }
        self.run.change(|progress| progress.is_erased = true);
        if self.person.email.is_some() { self.search().await } else { Ok(()) }
    }

    /// Erases what is meant, walk after walk, until no attempt at it is in flight, or for as long as that is waited for.
    async fn erase_known(&self, known: &mut Vec<EventId>, user_ids: &UserIds) -> Result<(), Ended> {
        let begun = Instant::now();
        loop {
            let question = Question::new(self.person.clone(), user_ids.clone());
            let walked = self.walk(Phase::Erasing, &question, Depth::Erase { known: known.clone() }).await?;
            let before: HashSet<EventId> = known.iter().copied().collect();
            let new: Vec<_> = walked.about.into_iter().filter(|id| !before.contains(id)).collect();
            let mentioned: Vec<_> = question.seen().mentioned.into_iter().filter(|id| !before.contains(id)).collect();
            self.run.change(|progress| {
                progress.events += new.len() as u64;
                progress.mentions = walked.mentions.len() as u64;
                progress.meant_mentions += mentioned.len() as u64;
                if !self.person.with_mentions {
                    progress.mentioned_in.clear();
                }
                progress.mentioned_in.extend(walked.mentions.iter().chain(&mentioned));
                progress.mentioned_in.truncate(NAMED_MAX);
                progress.unreadable = walked.unreadable;
                progress.in_flight = walked.in_flight;
                progress.left_behind.extend(walked.left_behind);
            });
            known.extend(new);
            if walked.in_flight == 0 || begun.elapsed() > FLIGHT_MAX {
                return Ok(());
            }
            self.wait("attempts that are in flight").await?;
        }
    }

    /// Memory lets go of what names them and is kept beside the store.
    async fn let_go(&self) {
        let (relay, names) = (self.relay.clone(), self.person.names());
        let let_go = move || {
            relay.refused.forget(&names);
            relay.bins.forget(&names);
        };
        // A panic is in the log, and what it left is gone at the end of the process.
        let _ = tokio::task::spawn_blocking(let_go).await;
    }

    /// One walk through the store. Whatever ends it: what it has erased may come again, and is new then. No later walk knows of it.
    async fn walk(&self, phase: Phase, question: &Arc<Question>, depth: Depth) -> Result<Walked, Ended> {
        let mut walked = Walked::default();
        let ended = self.go_through(phase, question, depth.clone(), &mut walked).await;
        if depth != Depth::Look {
            self.relay.doubles.forget(&walked.about.iter().copied().collect());
        }
        ended.map(|()| walked)
    }

    async fn go_through(
        &self,
        phase: Phase,
        question: &Arc<Question>,
        depth: Depth,
        walked: &mut Walked,
    ) -> Result<(), Ended> {
        self.run.change(|progress| (progress.phase, progress.share) = (phase, 0.0));
        let erases = depth != Depth::Look;
        let mut walk = self.store.erase(question.whom(), depth);
        let mut seen = HashSet::new();
        let mut in_all = None;
        loop {
            self.goes_on()?;
            let step: ErasingStep = walk.step().await?;
            if let Some(why) = step.waits_for {
                self.wait(&why).await?;
                continue;
            }
            let in_all = *in_all.get_or_insert(step.left);
            // What has copies comes more than once.
            walked.about.extend(step.about.into_iter().filter(|id| seen.insert(*id)));
            walked.mentions.extend(step.mentions.into_iter().filter(|id| seen.insert(*id)));
            walked.unreadable += step.unreadable;
            walked.standing = sum(walked.standing, step.standing);
            walked.left_behind.extend(step.left_behind);
            self.run.change(|progress| progress.removed.extend(step.removed));
            walked.in_flight = step.in_flight;
            self.run.change(|progress| {
                // What comes in meanwhile makes it longer.
                progress.share = progress.share.max(1.0 - step.left as f64 / in_all.max(1) as f64);
                progress.waits_for = None;
                progress.erased += step.erased;
                progress.ended += step.ended;
                progress.texts += step.texts;
                progress.damaged += if erases { step.damaged } else { 0 };
            });
            if step.is_done {
                return Ok(());
            }
        }
    }

    /// How much each destination has got of some events.
    async fn got(&self, events: &[EventId]) -> Result<Vec<Got>, Ended> {
        let mut got: BTreeMap<NameId, [u64; 2]> = BTreeMap::new();
        let mut limit = STATES_LIMIT;
        let mut rest = events;
        while !rest.is_empty() {
            self.goes_on()?;
            let ids = rest[..rest.len().min(EVENTS_MAX)].to_vec();
            let (found, looked_at) = self.store.events_of(ids).await?;
            rest = &rest[looked_at..];
            let (states, left) = self.store.states(found, limit).await?;
            limit = left;
            let is_cut = limit.bytes_left == 0;
            for (planned, state) in states.into_iter().flatten() {
                // What ended a while ago was delivered, unless it was dropped.
                let is_known = match state {
                    DeliveryState::Delivered { .. } => true,
                    DeliveryState::Settled => !is_cut,
                    _ => continue,
                };
                got.entry(planned.destination).or_default()[usize::from(!is_known)] += 1;
            }
        }
        let names = self.store.names();
        let named = |(id, [deliveries, unfound]): (NameId, [u64; 2])| Got {
            destination: names.name(id).to_string(),
            deliveries,
            unfound,
        };
        Ok(got.into_iter().map(named).collect())
    }

    fn goes_on(&self) -> Result<(), Ended> {
        if self.run.stop.is_cancelled() { Err(Ended::Stopped) } else { Ok(()) }
    }

    /// Waits a little for something.
    async fn wait(&self, what: &str) -> Result<(), Ended> {
        self.run.change(|progress| progress.waits_for = Some(what.to_owned()));
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
            () = self.run.stop.cancelled() => Err(Ended::Stopped),
        }
    }

    /// Searches every file for the address.
    async fn search(&self) -> Result<(), Ended> {
        let Some(address) = &self.person.email else { return Ok(()) };
        self.run.change(|progress| (progress.phase, progress.share) = (Phase::Searching, 0.0));
        let finder = address.finder();
        let (run, engine, data_dir) = (self.run.clone(), self.engine.clone(), self.data_dir.clone());
        let searched = tokio::task::spawn_blocking(move || {
            searched(&run, engine.journal().map(|journal| &**journal), &data_dir, &finder)
        })
        .await;
        let searched = searched.map_err(|_| Ended::Failed("it panicked, which is a bug: see the log".to_owned()))?;
        self.run.change(|progress| (progress.searched, progress.is_searched) = (searched, true));
        self.goes_on()
    }
}

fn sum(one: Standing, other: Standing) -> Standing {
    Standing {
        waiting: one.waiting + other.waiting,
        scheduled: one.scheduled + other.scheduled,
        in_flight: one.in_flight + other.in_flight,
        dead: one.dead + other.dead,
        held: one.held + other.held,
        gathered: one.gathered + other.gathered,
    }
}

/// Searches all files, and then the rows of the journal's index, of which a file may hold one in pieces.
fn searched(run: &Run, journal: Option<&JournalStore>, data_dir: &std::path::Path, finder: &Finder) -> Searched {
    let is_stopped = || run.stop.is_cancelled();
    let mut searched = search(data_dir, finder, &mut |searched| {
        let share = searched.bytes as f64 / searched.bytes_in_all.max(1) as f64;
        run.change(|progress| progress.share = share.min(1.0));
        !is_stopped()
    });
    // What lies in a database is no file here, and told with what is not reached.
    let Some(journal) = journal else { return searched };
    let mut tables: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    let read = journal.values(&mut |table, value| {
        let [hits, parts] = search_text(value, finder);
        if hits + parts > 0 {
            let known = tables.entry(table.to_owned()).or_default();
            *known = [known[0] + hits, known[1] + parts];
        }
        !is_stopped()
    });
    for (table, [hits, parts]) in tables {
        let name = INDEX_FILE.to_owned();
        searched.add(FoundIn { name, table: Some(table), hits, parts, first_at: None, is_own: true });
    }
    if let Err(why) = read {
        searched.unread.push(Unread { name: INDEX_FILE.to_owned(), why, is_own: true });
    }
    searched
}

/// Ends a run when it is dropped.
struct Done(Arc<Run>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.change(|progress: &mut Progress| {
            if std::thread::panicking() {
                progress.failed = Some("it panicked, which is a bug: see the log".to_owned());
            }
            (progress.phase, progress.share, progress.waits_for) = (Phase::Done, 1.0, None);
            progress.ended_at = Some(Instant::now());
        });
    }
}
