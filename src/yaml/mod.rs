//! Reads YAML that people type, and tells what is wrong with it. It knows nothing of what a file means.
//!
//! # Cast
//!
//! * [`load`]: text → [`raw`] nodes, alone in naming serde_yaml. `places`: where a node stands in the file.
//! * [`values`]: what stands behind `${…}`; [`resolved`]: what it stood for. `passed_on`: where a
//!   preset puts it. `masked`: what a message may quote of that.
//! * [`reader`]: typed reading of nodes, which collects problems and goes on. `hints`: what it asks whoever knows the keys.
//! * [`keys`]: what a key is, to the reader and to a reference alike; [`entries`]: a map's entries, taken by them. `credentials`: how
//!   somebody proves who they are.
//! * [`problem`]: the problems as people read them. `secrecy`: the lines that are not shown with them.
//! * `redraw`: the text again, with nothing but what may be seen.
//! * `sight`: how much of a value may be seen.
//! * `scan`, `whole`: the text as it is typed, for what the parser cannot tell.
//! * `words`, `forms`: the word and the form that were meant.
//! * [`regular`]: reads the files that are named, and nothing else than files.

pub(crate) mod credentials;
pub mod entries;
pub(crate) mod forms;
pub mod hints;
pub mod keys;
pub mod load;
pub(crate) mod masked;
mod passed_on;
pub(crate) mod places;
pub mod problem;
pub mod raw;
pub mod reader;
pub(crate) mod redraw;
pub mod regular;
pub mod resolved;
pub(crate) mod scan;
pub(crate) mod secrecy;
pub(crate) mod sight;
pub mod values;
pub(crate) mod whole;
pub(crate) mod words;
