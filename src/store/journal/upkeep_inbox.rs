//! What the upkeep is asked for.

use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

use super::lock;

/// What the upkeep can be asked for.
pub enum Message {
    /// Trims what may go.
    Trim(SyncSender<()>),
    Checkpoint(SyncSender<()>),
    /// Does something that nothing else of the upkeep may come into.
    Work(Work),
    Close,
}

pub type Work = Box<dyn FnOnce() + Send>;

/// The handle. Until it is started nothing is done, whoever asks for it.
#[derive(Default)]
pub struct Upkeep(OnceLock<Started>);

struct Started {
    sender: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    /// Somebody works on what is asked for from now on.
    pub fn has_started(&self, sender: Sender<Message>, thread: JoinHandle<()>) {
        let _ = self.0.set(Started { sender, thread: Mutex::new(Some(thread)) });
    }

    /// Trims what need not be kept. Waits until that is done.
    pub fn trim(&self) {
        self.ask(Message::Trim);
    }

    /// Writes a checkpoint. Waits until that is done, or cannot be.
    pub fn checkpoint(&self) {
        self.ask(Message::Checkpoint);
    }

    /// Has something done beside nothing else. Where nobody does it, it is dropped.
    pub fn work(&self, work: Work) {
        if let Some(started) = self.0.get() {
            let _ = started.sender.send(Message::Work(work));
        }
    }

    fn ask(&self, message: impl FnOnce(SyncSender<()>) -> Message) {
        let (reply, done) = std::sync::mpsc::sync_channel(1);
        if self.0.get().is_some_and(|started| started.sender.send(message(reply)).is_ok()) {
            // An error means that the thread has ended: there is nothing left to wait for.
            let _ = done.recv();
        }
    }

    /// Ends the thread, when it has done what it was asked for.
    pub fn close(&self) {
        let Some(Started { sender, thread }) = self.0.get() else { return };
        let _ = sender.send(Message::Close);
        if let Some(thread) = lock(thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for retention panicked");
        }
    }
}
