//! The relay through its real front door, against fake destinations with a script of answers; one program for all of it.

mod admin_door;
mod bins;
mod bodies;
mod canaries;
mod cli;
mod codings;
mod config;
mod connections;
mod contract;
mod day;
mod deliveries;
mod explain;
mod faults;
mod front_door;
mod fuzz;
mod harness;
mod isolation;
mod log;
mod messages;
mod metrics;
mod operator;
mod oracle;
mod outgoing;
mod packaging;
mod recipes;
mod refused;
mod reload;
mod restart;
mod schema;
mod structure;
mod supervision;
mod surroundings;
#[expect(dead_code, reason = "what needs root or the full size is used by the program `torture` alone")]
mod torture;
mod unsent;
mod what_if;
