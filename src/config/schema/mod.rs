//! What a config can say, as a JSON Schema for editors and as a reference for people: `docs/config.schema.json`, `docs/config.md`.
//!
//! Both are loops over the keys by which the reader reads ([`keys`](crate::yaml::keys)), so neither has a word of its own about one.
//!
//! # Cast
//!
//! * `json`: the keys → a JSON Schema (draft 2020-12).
//! * `markdown`: the keys → tables, put into what `reference.md` tells by hand.
//! * `find`: where a key stands, for messages.

pub(in crate::config) mod find;
mod json;
mod markdown;

pub use self::json::{schema, value_of};
pub use self::markdown::reference;
