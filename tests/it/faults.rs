//! The short cut of every fault that needs no root. The suite itself, and its checker, are in `torture/`.

use crate::torture::ledger::short;
use crate::torture::{damage, kill, signals};

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_under_load_every_acknowledged_event_arrives_unaltered() {
    short(&kill::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_ends_well_and_one_that_is_cut_short_loses_nothing() {
    short(&signals::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_never_alters_invents_or_misroutes_an_event() {
    short(&damage::FAULT).await;
}
