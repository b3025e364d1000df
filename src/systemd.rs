//! What systemd is told (`Type=notify`, `WatchdogSec=`): that the relay is ready, that it stops, and that it still makes progress.
//!
//! Outside systemd, where `$NOTIFY_SOCKET` is not set, all of it does nothing. A message that cannot be sent is logged and holds
//! nothing up. The protocol: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>.

use sd_notify::{NotifyState, notify};
use tokio::sync::watch::Receiver;

use crate::store::Health;

/// Says that the journal is open and that both listeners accept.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the relay has begun to stop.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Pings the watchdog twice in its time, for as long as the store has not failed. A runtime whose threads are all stuck does not run
/// this either, so systemd ends the process and starts it again. Returns at once where no watchdog is asked for.
pub async fn keep_watchdog_calm(health: Receiver<Health>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut turns = tokio::time::interval(limit / 2);
    loop {
        turns.tick().await;
        if !matches!(*health.borrow(), Health::Poisoned(_)) {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
