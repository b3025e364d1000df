//! Warnings: what may be used as it is, and probably does not do what was meant.
//!
//! Each says only what is certain: a warning that is wrong once is read never again, and `check --strict` fails on it.
//!
//! # Cast
//!
//! * [`rules`]: rules that can never match or are never tried, and events that none of them catches.
//! * [`fields`]: names and values that Vero does not use.
//! * [`shapes`]: plain texts in a match that look like something else.
//! * [`templates`]: what templates read and Vero does not send, and messages that are always empty.
//! * [`digests`]: what templates of digests read and a digest does not have, which is refused; groups and addresses by which nothing is put together.
//! * `reads`: what a template reads.
//! * `texts`: what is sent as it is, and was written for another program.
//! * `blocks`: Slack's blocks. [`channels`]: those that events choose and nobody has named.
//! * [`files`]: destinations that may write to one file.
//! * [`shaping`]: fields that are taken, left out or hidden, of which nothing is left. [`columns`]: those of a table.
//! * [`history`]: one that is shorter than what is remembered by it.
//! * [`exposure`]: what strangers could read.
//! * [`ways`]: destinations that are the relay [`itself`], which are refused, and URLs without a value for some events.

mod blocks;
pub(super) mod channels;
pub(super) mod columns;
pub(super) mod digests;
pub(crate) mod exposure;
pub(super) mod fields;
pub(super) mod files;
pub(super) mod history;
pub(super) mod itself;
mod reads;
pub(super) mod rules;
pub(crate) mod shapes;
pub(super) mod shaping;
pub(super) mod templates;
mod texts;
pub(super) mod ways;
