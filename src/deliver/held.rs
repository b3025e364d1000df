//! Claims in a worker's hands, and what has been decided about them. A worker may panic, or its task be dropped, at any place: what
//! is decided then takes effect, and the rest is handed back. No delivery stays in flight with nobody behind it.

use std::ops::Deref;
use std::sync::Arc;

use crate::store::{Claim, NameId, Settlement, Store};

/// Claims that are not settled. What is left when this goes is handed back.
pub struct Held {
    store: Arc<dyn Store>,
    claims: Vec<Claim>,
}

impl Held {
    /// Claims at most so many deliveries that are due.
    pub fn claim(store: &Arc<dyn Store>, destination: NameId, max: usize) -> Self {
        Self { store: store.clone(), claims: store.claim(destination, max) }
    }

    /// Takes the first so many out.
    pub fn split(&mut self, count: usize) -> Self {
        let rest = self.claims.split_off(count);
        Self { store: self.store.clone(), claims: std::mem::replace(&mut self.claims, rest) }
    }

    /// Decides about all of them in turn. Each is held until its settlement is there.
    pub fn settle<T>(
        mut self,
        with: impl IntoIterator<Item = T>,
        settled: &mut Settled,
        mut decide: impl FnMut(&Claim, T) -> Settlement,
    ) {
        self.claims.reverse();
        for with in with {
            let Some(claim) = self.claims.last() else { return };
            let settlement = decide(claim, with);
            settled.settlements.extend(self.claims.pop().map(|claim| (claim, settlement)));
        }
    }
}

impl Deref for Held {
    type Target = [Claim];

    fn deref(&self) -> &[Claim] {
        &self.claims
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            let claims = std::mem::take(&mut self.claims).into_iter();
            self.store.settle(claims.map(|claim| (claim, Settlement::Released)).collect());
        }
    }
}

/// What has been decided. It takes effect when this goes.
pub struct Settled {
    store: Arc<dyn Store>,
    settlements: Vec<(Claim, Settlement)>,
}

impl Settled {
    /// Nothing yet.
    pub fn new(store: &Arc<dyn Store>) -> Self {
        Self { store: store.clone(), settlements: Vec::new() }
    }

    /// How much.
    pub fn len(&self) -> usize {
        self.settlements.len()
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        self.store.settle(std::mem::take(&mut self.settlements));
    }
}
