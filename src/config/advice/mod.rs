//! Warnings: what may be used as it is, and probably does not do what was meant.
//!
//! Each says only what is certain: a warning that is wrong once is read never again, and `check --strict` fails on it.
//!
//! * [`rules`]: rules that can never match or are never tried, and events that none of them catches.
//! * [`fields`]: names and values that Vero does not use.
//! * [`files`]: destinations that may write to one file.
//! * [`exposure`]: what strangers could read.
//! * [`ways`]: destinations that are the relay [`itself`], which are refused, and URLs without a value for some events.

pub(crate) mod exposure;
pub(super) mod fields;
pub(super) mod files;
pub(super) mod itself;
pub(super) mod rules;
pub(super) mod ways;
