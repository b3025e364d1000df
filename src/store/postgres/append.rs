//! Taking in: whatever has queued up while the last statement ran goes to the database in one, and its senders are answered once
//! that is committed.
//!
//! * A relay has one append under way at a time, and draws the numbers just before: whoever sees one of its events sees those with
//!   smaller numbers, and an event that came after another was acknowledged has the greater number, whoever took which.
//! * The statement names the lease of the stream and locks it, so that none follows a take-over.
//! * An append of which it is not known whether it was committed is said again with the same numbers, until it is known. The same holds
//!   where the server warns: a commit whose wait for the standby was cancelled *succeeds*, and the standby does not have it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::again::Again;
use super::following::Reply;
use super::group::{Group, Written, grouped, write};
use super::link::{Link, kept};
use super::numbers;
use super::running::{Postgres, Stream};
use super::tide::Tide;
use super::trouble::Trouble;
use crate::store::locks::lock;
use crate::store::{AppendError, Health, NewEvent};
use crate::time::Instant;

/// Events of one statement: the first of them waits for the commit of all.
const GROUP_MAX: usize = 512;
/// Bytes of their bodies, beside the last one.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A stream is looked for again after this.
const STREAM_WITHIN: Duration = Duration::from_millis(500);

/// Takes events in until the store ends.
pub async fn run(postgres: Arc<Postgres>, inbox: UnboundedReceiver<(NewEvent, Reply)>) {
    let tide = Tide::default();
    let mut door = Door { postgres, inbox, waiting: VecDeque::new(), link: None, again: Again::default(), tide };
    while door.wait().await {
        if door.tide.is_due() {
            door.tell_tide().await;
        }
        if let Some(group) = door.number().await {
            door.append(group).await;
        }
    }
    for (_, _, reply) in door.waiting {
        let _ = reply.send(Err(AppendError::Closed));
    }
}

/// Where events come in.
struct Door {
    postgres: Arc<Postgres>,
    inbox: UnboundedReceiver<(NewEvent, Reply)>,
    /// Those that were taken over, with since when they wait.
    waiting: VecDeque<(Instant, NewEvent, Reply)>,
    link: Option<Link>,
    again: Again,
    /// How far its stream has come.
    tide: Tide,
}

impl Door {
    /// Waits for an event, or for when the stream is to say how far it has come. False: the store ends.
    async fn wait(&mut self) -> bool {
        if self.waiting.is_empty() {
            tokio::select! {
                () = self.postgres.end.cancelled() => return false,
                () = tokio::time::sleep_until(self.tide.next()) => {}
                next = self.inbox.recv() => match next {
                    Some((event, reply)) => self.waiting.push_back((Instant::now(), event, reply)),
                    None => return false,
                },
            }
        }
        while self.waiting.len() < GROUP_MAX
            && let Ok((event, reply)) = self.inbox.try_recv()
        {
            self.waiting.push_back((Instant::now(), event, reply));
        }
        true
    }

    /// Waits before something is tried again. Meanwhile whoever has waited for too long is refused.
    async fn pause(&mut self) {
        let until = Instant::now() + self.again.wait(self.postgres.dice());
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                () = self.postgres.end.cancelled() => break,
                next = self.inbox.recv() => match next {
                    Some((event, reply)) => self.waiting.push_back((Instant::now(), event, reply)),
                    None => break,
                },
            }
        }
        let patience = self.postgres.patience;
        let has_waited = |(since, ..): &(Instant, NewEvent, Reply)| since.elapsed() >= patience;
        while self.waiting.front().is_some_and(has_waited)
            && let Some((_, _, reply)) = self.waiting.pop_front()
        {
            let _ = reply.send(Err(not_now()));
        }
    }

    /// The connection, which is made where there is none.
    async fn link(&mut self) -> Result<&Link, Trouble> {
        let postgres = &self.postgres;
        let open = async {
            let new = postgres.link("append").await?;
            numbers::raise(&new).await?;
            Ok(new)
        };
        kept(&mut self.link, open).await
    }

    /// Says how far its stream has come. No append of it is under way here.
    async fn tell_tide(&mut self) {
        self.tide.put_off();
        let Some(stream) = self.postgres.stream().filter(|stream| !self.tide.doubts(*stream)) else { return };
        if self.postgres.stands_still.load(Ordering::Acquire) {
            return;
        }
        let postgres = self.postgres.clone();
        self.tide.says(stream);
        let told = match self.link().await {
            Ok(link) => Tide::tell(&postgres, link, stream).await,
            Err(trouble) => Err(trouble),
        };
        match told {
            Ok(segment) => self.tide.is_at(stream, segment),
            Err(trouble) => trouble.puts_off("saying how far a stream has come"),
        }
    }

    /// Draws numbers for the first of what waits.
    async fn number(&mut self) -> Option<Group> {
        loop {
            self.refuse_if_full();
            if self.postgres.end.is_cancelled() || self.waiting.is_empty() {
                return None;
            }
            let mut bytes = 0;
            let fits = |(_, event, _): &&(Instant, NewEvent, Reply)| {
                let has_room = bytes < GROUP_BYTES_MAX;
                bytes += event.body.len();
                has_room
            };
            let count = self.waiting.iter().take(GROUP_MAX).take_while(fits).count();
            if let Some(stream) = self.postgres.stream().filter(|stream| self.tide.is_unsure(*stream)) {
                self.tell_tide().await;
                if self.tide.is_unsure(stream) {
                    let why = "it is not known in which segment the stream of this relay goes on";
                    self.postgres.takes_nothing(&Trouble::Away(why.to_owned()));
                    self.pause().await;
                    continue;
                }
            }
            match self.draw(count as i64).await {
                Ok((stream, numbers)) => {
                    self.again.reached();
                    let segment = self.tide.segment_of(stream);
                    let events = self.waiting.drain(..count).collect();
                    return Some(grouped(&self.postgres, stream, events, numbers, segment));
                }
                Err(trouble) => {
                    self.postgres.takes_nothing(&trouble);
                    self.pause().await;
                }
            }
        }
    }

    /// Where there is as much as there may be, nothing is tried. A disk that was full is tried: only that shows whether it still is.
    fn refuse_if_full(&mut self) {
        let was_tried = lock(&self.postgres.refused_since).is_some();
        if let Health::Full(why) = &*self.postgres.health.borrow()
            && !was_tried
        {
            let full = AppendError::Full(why.clone());
            self.waiting.drain(..).for_each(|(_, _, reply)| drop(reply.send(Err(full.clone()))));
        }
    }

    async fn draw(&mut self, count: i64) -> Result<(Stream, Vec<i64>), Trouble> {
        // Before the first heartbeat, and after the others have taken this relay for dead, there is no stream to append to.
        let mut streaming = self.postgres.streaming.subscribe();
        let stream = tokio::time::timeout(STREAM_WITHIN, streaming.wait_for(Option::is_some)).await;
        let stream = stream.ok().and_then(|stream| stream.ok().and_then(|stream| *stream));
        let none = || Trouble::Away("this relay has no stream to append to yet".to_owned());
        let stream = stream.ok_or_else(none)?;
        let link = self.link().await?;
        let rows = link.rows("SELECT nextval('event_number') FROM generate_series(1, $1::int8)", &[&count]).await?;
        let mut numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        numbers.sort_unstable();
        Ok((stream, numbers))
    }

    /// Has a group committed, and says so to its senders. Those who have waited for too long are refused meanwhile; it goes on all the
    /// same, since it may have been committed already.
    async fn append(&mut self, mut group: Group) {
        loop {
            let came = match self.link().await {
                Ok(link) => write(link, &group).await,
                Err(trouble) => Err(trouble),
            };
            match came {
                Ok(Written::Taken(holds)) => {
                    group.came_in_under(&holds);
                    let postgres = self.postgres.clone();
                    if let Ok(link) = self.link().await {
                        // Where that fails, the next heartbeat knows them.
                        let _ = postgres.know_holds(link, holds.iter().map(|(id, hold)| (*id, Some(*hold)))).await;
                    }
                    self.again.reached();
                    self.postgres.takes_in();
                    return taken(&self.postgres, group);
                }
                Ok(Written::Fenced) => {
                    // Another relay has this stream, so what was not committed by now never will be.
                    self.postgres.give_up_stream(group.stream);
                    let why = "this relay was taken for dead by the others, and begins anew".to_owned();
                    return group.refuse(&AppendError::Unavailable(why));
                }
                Err(Trouble::Broken(why)) => {
                    // Said again, it would fail again, and hold up everything behind it.
                    if group.is_repeated {
                        self.tide.doubt(group.stream);
                    }
                    tracing::error!(why, "events could not be written, and were refused");
                    return group.refuse(&AppendError::Unavailable(why));
                }
                Err(trouble) => self.postgres.takes_nothing(&trouble),
            }
            group.is_repeated = true;
            if self.postgres.end.is_cancelled() {
                return group.refuse(&AppendError::Closed);
            }
            if group.since.elapsed() >= self.postgres.patience {
                group.refuse(&not_now());
            }
            self.pause().await;
        }
    }
}

fn not_now() -> AppendError {
    AppendError::Unavailable("the database does not take events now".to_owned())
}

/// A group is committed.
fn taken(postgres: &Postgres, group: Group) {
    let (answered, woken) = postgres.publish_own(&group.events, group.replies);
    for (reply, id) in answered {
        // The sender may have hung up: the event is taken all the same.
        let _ = reply.send(Ok(id));
    }
    woken.into_iter().for_each(|wakeup| wakeup.notify_one());
}
