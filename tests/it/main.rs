//! The relay through its real front door, against fake destinations with a script of answers; one program for all of it.

mod bodies;
mod cli;
mod config;
mod contract;
mod day;
mod deliveries;
mod front_door;
mod harness;
mod isolation;
mod kill;
mod operator;
mod restart;
mod structure;
