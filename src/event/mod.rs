//! An event: what one webhook says, and its identity.
//!
//! The body is bytes and stays bytes. [`FieldSet`] is compiled once from the paths that the running rules name;
//! [`FieldSet::read`] then goes over a body once and picks out just those fields, borrowed from the body.
//! Nothing here copies, repairs or re-serialises a body: forwarding it untouched is byte-identical.
//!
//! # Cast
//!
//! * `path`, [`FieldPath`]: `campaign.name`, `/a.b/0/c` or `relay.source`, as written in a config.
//! * [`configured`]: reads such a path from the YAML.
//! * `fields`, [`FieldSet`] → [`Fields`]: the compiled set, and what one body holds of it.
//! * `moment`, [`Written`]: what a value says of a time.
//! * `value`, [`Value`]: one picked-out value; numbers keep their text. `decimal`: how they compare.
//! * `json`, [`Json`]: a whole body as a tree, for templates; made only when a destination with a template attempts.
//! * `print`, [`Print`]: a short digest of texts. `fields/identity`: what tells an event from another where the same may come twice.
//! * `shaping`, [`Shaping`]: a body with fewer fields, or with some that nobody can read.
//! * `summary`, [`Summary`]: what a list shows of an event.
//! * [`vero`]: what is particular about Vero: types, odd keys, samples.
//! * `id`, [`EventId`]: a UUIDv7 whose low 62 bits are the event's place in the journal.

pub mod configured;
mod decimal;
mod fields;
mod id;
mod json;
mod moment;
pub(crate) mod path;
mod print;
pub mod shaping;
mod summary;
mod value;
pub mod vero;

pub use self::decimal::Decimal;
pub(crate) use self::fields::occurred_ms;
pub use self::fields::{Event, FieldId, FieldSet, FieldSetBuilder, Fields, Refused, RelayFields};
pub use self::id::EventId;
pub use self::json::{Json, minify};
pub use self::moment::{UNIX_SECONDS_MAX, Written, of_text as moment_of};
pub use self::path::{FieldPath, PathError, RelayField, SEGMENTS_MAX, Segment};
pub use self::print::{Print, Printing};
pub use self::shaping::{Shaping, Unshaped, hex};
pub use self::summary::{Summary, summary};
pub use self::value::Value;
