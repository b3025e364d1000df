//! The short cut of every fault that needs no root. The suite itself, and its checker, are in `torture/`.

use crate::torture::ledger::short;
use crate::torture::{clock, damage, errors, kill, signals, storm, unruly};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_answers_5xx_is_probed_and_then_brought_back_step_by_step() {
    short(&storm::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_failed_sync_and_a_full_disk_on_a_write_passes() {
    short(&errors::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_steps_hurries_no_retry_stalls_none_and_wipes_nothing() {
    short(&clock::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_misbehave_in_every_way_hold_no_other_up() {
    short(&unruly::FAULT).await;
}
