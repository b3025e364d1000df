//! The short cut of every fault that needs no root. The suite itself, and its checker, are in `torture/`.

use crate::torture::ledger::short;
use crate::torture::{
    archive, backlog, clock, closing, damage, descriptors, digest, errors, fleet, forget, heads, kill, names,
    relocated, rename, signals, slow_senders, storm, two_processes, unruly, vanished,
};

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_under_load_every_acknowledged_event_arrives_unaltered() {
    short(&kill::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_no_event_of_a_digest_is_lost_or_in_another() {
    short(&digest::FAULT).await;
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
async fn a_wall_clock_that_steps_or_is_wrong_at_the_start_hurries_no_retry_stalls_none_and_wipes_nothing() {
    short(&clock::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_never_accepts_events_into_a_journal_that_the_first_has() {
    short(&two_processes::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_vanishes_is_noticed_and_nothing_is_made_in_its_place() {
    short(&vanished::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_misbehave_in_every_way_hold_no_other_up() {
    short(&unruly::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_rude_senders_are_closed_by_their_deadline_and_an_honest_one_is_served_meanwhile() {
    short(&slow_senders::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_it_waits_calmly_and_goes_on_when_there_are_some() {
    short(&descriptors::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_rotated_cut_deleted_or_replaced_loses_no_line_and_holds_nobody_up() {
    short(&archive::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_no_memory_and_goes_out_in_order_of_age_after_a_restart() {
    short(&backlog::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_thousands_of_rules_match_are_all_there_after_a_kill_9_while_the_disk_stalls() {
    short(&heads::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_small_events_outlive_a_trim_and_a_kill_9() {
    short(&relocated::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_with_other_names_leave_a_small_header_and_a_paused_queue_as_it_was() {
    short(&names::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_renamed_and_back_under_load_and_kill_9_loses_nothing() {
    short(&rename::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_9_while_files_are_closed_and_packed_loses_no_line() {
    short(&closing::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_amid_forgetting_somebody_they_are_gone_when_it_is_said_again_and_nobody_else_is() {
    short(&forget::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_relays_one_after_the_other_is_killed_and_no_acknowledged_event_is_lost() {
    short(&fleet::killed::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stood_still_and_goes_on_changes_nothing_of_what_others_have_taken_over() {
    short(&fleet::suspended::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_has_all_that_was_acknowledged_if_it_was_waited_for() {
    short(&fleet::primary::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_the_database_that_drops_and_resets_loses_nothing_and_a_slow_one_moves_nothing() {
    short(&fleet::cut::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_is_locked_and_has_no_connection_left_loses_nothing() {
    short(&fleet::database::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_whose_clocks_are_an_hour_apart_take_nobody_for_dead() {
    short(&fleet::clocks::FAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_renamed_in_one_relay_after_the_other_gets_each_event_once() {
    short(&fleet::deployed::FAULT).await;
}
