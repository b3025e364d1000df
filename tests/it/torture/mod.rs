//! The torture suite: one checker for all faults, and a ledger with one line a fault.
//!
//! The promise is that nothing acknowledged is ever lost. Each fault brings the real binary into trouble while a [`Load`](load::Load)
//! posts numbered events and [recorders](recorder::Recorder) and a file take what is delivered. Afterwards the [verdict](oracle::Verdict)
//! compares the three: what got a 2xx, what arrived, and what the relay says it still has.
//!
//! A fault is one file with a `pub const FAULT` and one line in [`FAULTS`]. `make torture` runs all of them at full size (some ten
//! minutes); the ordinary tests run each one's short cut (`faults.rs`), but for those that need root or a mount, which are in
//! `make torture` alone: [`power`], [`disk_full`] and [`archive_disk`]. What can be shown of these without root is in
//! `hooks_listener.rs` and the journal's own tests, on a disk that fails on demand.
//!
//! Those of [`fleet`] are about several relays on one PostgreSQL, which they start.
//!
//! [`errors`] and [`heads`] need strace and [`clock`] a C compiler. Where one is missing, both the ledger and the ordinary test say so and fail.
//!
//! `VERO_RELAY_TORTURE=kill,power` picks faults by name; `VERO_RELAY_TORTURE_SEED=N` repeats a run;
//! `VERO_RELAY_TORTURE_SHORT=1` takes the short cuts; `VERO_RELAY_TORTURE_ALLOW_SKIPS=1` lets faults be left out where root or a
//! program is missing.

pub mod archive;
pub mod archive_disk;
pub mod backlog;
pub mod clock;
pub mod clock_start;
pub mod closing;
pub mod damage;
pub mod descriptors;
pub mod dice;
pub mod digest;
pub mod disk_full;
pub mod errors;
pub mod fleet;
pub mod forget;
pub mod heads;
pub mod kill;
pub mod ledger;
pub mod load;
pub mod mount;
pub mod names;
pub mod oracle;
pub mod power;
pub mod recorder;
pub mod relocated;
pub mod rename;
pub mod rig;
pub mod signals;
pub mod slow_senders;
pub mod stage;
pub mod storm;
pub mod two_processes;
pub mod unruly;
pub mod vanished;

use ledger::Fault;

/// Every fault, in the order in which they run.
pub const FAULTS: &[&Fault] = &[
    &kill::FAULT,
    &digest::FAULT,
    &power::FAULT,
    &damage::FAULT,
    &disk_full::FAULT,
    &errors::FAULT,
    &clock::FAULT,
    &two_processes::FAULT,
    &vanished::FAULT,
    &unruly::FAULT,
    &storm::FAULT,
    &signals::FAULT,
    &slow_senders::FAULT,
    &archive::FAULT,
    &closing::FAULT,
    &archive_disk::FAULT,
    &descriptors::FAULT,
    &heads::FAULT,
    &relocated::FAULT,
    &names::FAULT,
    &rename::FAULT,
    &backlog::FAULT,
    &forget::FAULT,
    &fleet::killed::FAULT,
    &fleet::suspended::FAULT,
    &fleet::primary::FAULT,
    &fleet::cut::FAULT,
    &fleet::database::FAULT,
    &fleet::clocks::FAULT,
    &fleet::deployed::FAULT,
];
