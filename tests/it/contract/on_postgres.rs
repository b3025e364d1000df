//! The store on PostgreSQL, on a real server: each test in a schema of its own.

use vero_relay::store::postgres::{self, Address, AddressOptions, Link, PostgresStore};

use super::*;
use crate::postgres::{contract_server, schema};

/// The store in a schema of its own.
pub struct OnPostgres {
    schema: String,
    /// What was opened last.
    open: RefCell<Weak<PostgresStore>>,
    /// What others have open beside it.
    others: RefCell<Vec<(String, Arc<PostgresStore>)>>,
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
        self.itself(store).stand_still();
    }

    /// It goes on.
    pub fn go_on(&self, store: &Arc<dyn Store>) {
        self.itself(store).go_on();
    }

    fn itself(&self, store: &Arc<dyn Store>) -> Arc<PostgresStore> {
        let others = self.others.borrow();
        let (_, other) = others.iter().find(|(_, other)| is_same(other, store)).expect("it was opened beside another");
        other.clone()
    }

    /// A relay dies without a word, and is taken for dead at once: nothing here is about how long that takes.
    pub fn kill(&self, store: Arc<dyn Store>) {
        let mut others = self.others.borrow_mut();
        let at = others.iter().position(|(_, other)| is_same(other, &store)).expect("it was opened beside another");
        let (name, other) = others.remove(at);
        drop((store, other));
        let schema = &self.schema;
        contract_server().script(&format!(
            "UPDATE {schema}.lease SET epoch = epoch + 1, incarnation = NULL
                WHERE incarnation = (SELECT incarnation FROM {schema}.relay WHERE name = '{name}');
             DELETE FROM {schema}.relay WHERE name = '{name}'"
        ));
    }

    /// What all relays do now and then they do now.
    pub fn tidy(&self) {
        let others = self.others.borrow();
        let last = self.open.borrow().upgrade();
        others.iter().map(|(_, other)| other).chain(&last).for_each(|relay| relay.tidy());
    }

    /// A connection of its own to the schema, for what a test does in the way of relays.
    pub fn link(&self) -> Link {
        let options = AddressOptions { schema: self.schema.clone(), ..AddressOptions::default() };
        let address = Address::parse(&contract_server().url(), options).expect("an address");
        wait(async || Link::open(&address, "test").await).expect("it opens")
    }

    fn relay(&self, name: &str, clock: Option<Clock>) -> Arc<PostgresStore> {
        let options = AddressOptions { schema: self.schema.clone(), ..AddressOptions::default() };
        let address = Address::parse(&contract_server().url(), options).expect("an address");
        let options = postgres::Options { name: name.to_owned(), clock, ..postgres::Options::default() };
        Arc::new(wait(async || PostgresStore::open(address, options).await).expect("it opens"))
    }
}

fn is_same(one: &Arc<PostgresStore>, other: &Arc<dyn Store>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
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
        let store = self.relay("first", Some(clock));
        *self.open.borrow_mut() = Arc::downgrade(&store);
        store
    }

    fn open_again(&self) -> Arc<dyn Store> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("other {}", NEXT.fetch_add(1, Ordering::Relaxed));
        let store = self.relay(&name, None);
        self.others.borrow_mut().push((name, store.clone()));
        store
    }

    fn trim(&self) {
        let relay = self.open.borrow().upgrade().expect("it is open");
        wait(async || relay.trim().await).expect("house was kept");
    }

    fn keeps_copies(&self) -> bool {
        true
    }
}
