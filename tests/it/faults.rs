//! The short cut of every fault that needs no root. The suite itself, and its checker, are in `torture/`.

use crate::torture::{kill, ledger::short};

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_under_load_every_acknowledged_event_arrives_unaltered() {
    short(&kill::FAULT).await;
}
