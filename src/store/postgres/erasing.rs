//! Erasing what is kept of a person.

use crate::store::{Answer, Erasing, ErasingStep, StoreError};

/// No walk over a shared store yet.
pub struct NotYet;

impl Erasing for NotYet {
    fn step(&mut self) -> Answer<'_, ErasingStep> {
        let why = "forgetting a person is not there yet for a store on PostgreSQL".to_owned();
        Box::pin(std::future::ready(Err(StoreError::Unavailable(why))))
    }
}
