//! What was gathered by a section that is no more: it goes out together once more, and nothing is gathered then.

use std::sync::Arc;
use std::time::Duration;

use super::{EXAMPLES, Field, Gathering, Sorting};
use crate::event::{FieldPath, FieldSetBuilder};

/// How what was gathered goes out where the section gathers nothing.
#[derive(Debug)]
pub struct Leftover {
    pub sorting: Arc<Sorting>,
    /// All that lies in a window is over, and none goes out by itself before it.
    pub gathering: Gathering,
}

impl Leftover {
    /// By the groups of the section before, where that is known; else by type.
    pub fn of(before: Option<Arc<Sorting>>) -> Self {
        let sorting = before.filter(|sorting| sorting.gathering.is_some());
        let sorting = sorting.unwrap_or_else(|| Arc::new(Sorting::by_type()));
        let usual = sorting.gathering.clone().unwrap_or_default();
        Self { sorting, gathering: Gathering { every: Some(Duration::ZERO), first: 0, ..usual } }
    }
}

impl Sorting {
    /// What there is to go by where no section says how events are put together.
    pub fn by_type() -> Self {
        let mut fields = FieldSetBuilder::default();
        let path = FieldPath::parse("type").ok();
        let by = path.map(|path| Field { path: "type".to_owned(), id: fields.add(&path) }).into_iter().collect();
        let gathering = Gathering { by, ..Gathering::default() };
        Self::new(fields.build(), None, Some(gathering), None)
    }
}

impl Default for Gathering {
    fn default() -> Self {
        Self { every: None, by: Vec::new(), breakdown: None, first: 0, examples: EXAMPLES }
    }
}
