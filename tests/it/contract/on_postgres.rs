//! The store on PostgreSQL, on a real server: each test in a schema of its own.

use vero_relay::store::postgres::{self, Address, AddressOptions, PostgresStore};

use super::*;
use crate::postgres::{contract_server, schema};

/// The store in a schema of its own.
pub struct OnPostgres {
    schema: String,
    /// What was opened last.
    open: RefCell<Weak<PostgresStore>>,
    /// What others have open beside it.
    others: RefCell<Vec<Arc<PostgresStore>>>,
}

impl Default for OnPostgres {
    fn default() -> Self {
        Self { schema: schema(), open: RefCell::default(), others: RefCell::default() }
    }
}

impl OnPostgres {
    /// The schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A relay hears of nobody any more, and nobody of it, as when its machine stands still.
    pub fn stand_still(&self, store: &Arc<dyn Store>) {
        let stops = |other: &&Arc<PostgresStore>| std::ptr::addr_eq(Arc::as_ptr(*other), Arc::as_ptr(store));
        let others = self.others.borrow();
        others.iter().find(stops).expect("it was opened beside another").stand_still();
    }

    fn relay(&self, clock: Option<Clock>) -> Arc<PostgresStore> {
        let options = AddressOptions { schema: self.schema.clone(), ..AddressOptions::default() };
        let address = Address::parse(&contract_server().url(), options).expect("an address");
        let options = postgres::Options { clock, ..postgres::Options::default() };
        Arc::new(wait(async || PostgresStore::open(address, options).await).expect("it opens"))
    }
}

impl Backend for OnPostgres {
    fn open_by(&self, clock: Clock) -> Arc<dyn Store> {
        if self.open.borrow().upgrade().is_none() {
            // Who died without a word is taken for dead after a while. Nothing here is about how long that is.
            let schema = &self.schema;
            contract_server().script(&format!(
                "DO $$ BEGIN IF to_regclass('{schema}.lease') IS NOT NULL THEN
                    UPDATE {schema}.lease SET epoch = epoch + 1, incarnation = NULL WHERE incarnation IS NOT NULL;
                    DELETE FROM {schema}.relay;
                END IF; END $$"
            ));
        }
        let store = self.relay(Some(clock));
        *self.open.borrow_mut() = Arc::downgrade(&store);
        store
    }

    fn open_again(&self) -> Arc<dyn Store> {
        let store = self.relay(None);
        self.others.borrow_mut().push(store.clone());
        store
    }

    fn trim(&self) {}

    fn keeps_copies(&self) -> bool {
        true
    }
}
