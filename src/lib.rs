//! vero-relay takes in Vero's webhooks, puts each on disk before it answers, and delivers it to every destination that the rules in
//! one YAML file name.
//!
//! The modules stand in the order of an event's way: [`receive`] → [`event`] → [`rules`] → [`store`] → [`deliver`] →
//! [`destination`]. Beside it: [`yaml`] and [`config`] (YAML → a checked config), [`explain`] (why an event goes where it goes, and what would be sent),
//! [`notify`] (who is told of trouble), [`relay`] (what the handlers share), [`admin`] (the operator's API), [`listener`] (a socket that accepts), [`telemetry`], [`bins`] (places to
//! deliver to that need no account). On top: [`daemon`] puts them together, [`systemd`] is told of it, and [`cli`] has one file a verb. Leaves:
//! `directory`, `errors`, `fault` (a place in a text), [`secret`], `spelled` (a secret however it is escaped), `tags` (of a template), [`mod@time`], `trust` (certificates that are taken from anybody), `units`, `unseen` (signs that nobody sees), and `seeds` of
//! tests; `simulation` is for tests alone. ARCHITECTURE.md tells the same as a story.

pub mod receive;

pub mod event;

pub mod rules;

pub mod store;

pub mod deliver;

pub mod destination;

pub mod admin;
pub mod bins;
pub mod cli;
pub mod config;
pub mod daemon;
mod directory;
mod errors;
pub mod explain;
mod fault;
pub mod listener;
pub mod notify;
pub mod relay;
pub mod secret;
#[cfg(any(test, feature = "test-support"))]
pub mod seeds;
#[cfg(test)]
mod simulation;
mod spelled;
pub mod systemd;
mod tags;
pub mod telemetry;
pub mod time;
mod trust;
mod units;
mod unseen;
pub mod yaml;
