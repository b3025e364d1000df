//! The tables are made, and changed from one version to the next: by whoever comes first, whole or not at all.

use vero_relay::store::Store;
use vero_relay::store::postgres::{Address, Link, Migration, Options, PostgresStore, Schema, Trouble};

use super::link::address;
use super::{contract_server, schema};
use crate::cli::{err, out, vero_relay};
use crate::harness::eventually;

const FIRST: Migration = Schema::OURS.0[0];
/// A later program, that knows a step more.
const LATER: Schema = Schema(&[
    FIRST,
    Migration {
        number: 2,
        min_version: 1,
        tables: "ALTER TABLE meta ADD later int; CREATE TABLE later ();",
        segment: "ALTER TABLE event_{k} ADD later int;",
    },
]);
/// A program later still: those that know the first version alone cannot work with what it makes.
const LAST: Schema = Schema(&[
    FIRST,
    LATER.0[1],
    Migration { number: 3, min_version: 2, tables: "ALTER TABLE meta DROP later;", segment: "" },
]);

fn place() -> (String, Address) {
    let schema = schema();
    let address = address(&contract_server().url(), &schema);
    (schema, address)
}

async fn versions(schema: &str) -> String {
    contract_server().value(&format!("SELECT schema_version || ' ' || min_version FROM {schema}.meta")).await
}

async fn is_there(table: &str) -> bool {
    contract_server().value(&format!("SELECT to_regclass('{table}') IS NOT NULL")).await == "t"
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_find_nothing_at_the_same_moment_make_one_schema() {
    let (name, address) = place();
    contract_server().query(&format!("DROP SCHEMA {name}")).await;
    let open = |at: usize| {
        let options = Options { name: format!("relay-{at}"), ..Options::default() };
        PostgresStore::open(address.clone(), options)
    };
    let (a, b, c) = tokio::join!(open(0), open(1), open(2));
    let stores = [a.expect("it opens"), b.expect("it opens"), c.expect("it opens")];
    assert_eq!(versions(&name).await, "1 1");
    assert_eq!(contract_server().value(&format!("SELECT count(*) FROM {name}.relay")).await, "3");
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_program_are_brought_up_once_with_all_their_segments_and_it_goes_on() {
    let (name, address) = place();
    Schema::OURS.make(&address).await.expect("made");
    let (one, other) = tokio::join!(LATER.make(&address), LATER.make(&address));
    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(versions(&name).await, "2 1");
    let columns = format!(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = '{name}' AND column_name = 'later'"
    );
    assert_eq!(contract_server().value(&columns).await, "3", "once, and in each of two segments");
    Schema::OURS.make(&address).await.expect("the older program goes on");
    assert_eq!(versions(&name).await, "2 1");
    // What is there at once is the same.
    let (anew, address) = place();
    LATER.make(&address).await.expect("made");
    assert_eq!(versions(&anew).await, "2 1");
    assert!(is_there(&format!("{anew}.later")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_too_old_is_told_to_be_replaced_and_changes_nothing() {
    let (name, address) = place();
    LAST.make(&address).await.expect("made");
    let refused = PostgresStore::open(address.clone(), Options::default()).await.err().expect("it is too old");
    assert!(matches!(&refused, Trouble::Refused(why) if why.contains("install a newer vero-relay")), "{refused:?}");
    assert_eq!(contract_server().value(&format!("SELECT count(*) FROM {name}.relay")).await, "0");
    LATER.make(&address).await.expect("this one is allowed to");
    contract_server().query(&format!("UPDATE {name}.meta SET schema_version = 0")).await;
    assert!(matches!(LATER.make(&address).await, Err(Trouble::Broken(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_everything_as_it_was() {
    let bad = Migration { tables: "CREATE TABLE later (); SELECT 1 / 0;", ..LATER.0[1] };
    let bad: &'static [Migration] = Box::leak(Box::new([FIRST, bad]));
    let (name, address) = place();
    Schema::OURS.make(&address).await.expect("made");
    assert!(Schema(bad).make(&address).await.is_err());
    assert_eq!((versions(&name).await, is_there(&format!("{name}.later")).await), ("1 1".to_owned(), false));
    LATER.make(&address).await.expect("a good one does it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_who_reads_a_table_that_it_changes() {
    let (name, address) = place();
    Schema::OURS.make(&address).await.expect("made");
    let reader = Link::open(&address, "test").await.expect("it opens");
    reader.script("BEGIN; SELECT * FROM event_1").await.expect("read");
    let (made, ()) = tokio::join!(LATER.make(&address), async {
        let asked =
            format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{name}.event_1'::regclass");
        eventually("it to wait", async || contract_server().value(&asked).await == "1").await;
        reader.script("COMMIT").await.expect("it ends");
    });
    made.expect("it comes in its turn");
    assert_eq!(versions(&name).await, "2 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_prints_is_what_a_relay_makes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (name, _) = place();
    let printed = vero_relay(directory.path(), &["store", "schema", "--name", &name]);
    assert_eq!(printed.status.code(), Some(0), "{}", err(&printed));
    contract_server().query(&out(&printed)).await;
    let (made, address) = place();
    Schema::OURS.make(&address).await.expect("made");
    let columns = |name: &str| {
        format!(
            "SELECT string_agg(concat_ws(' ', table_name, column_name, data_type, column_default), ', ' ORDER BY table_name, column_name)
             FROM information_schema.columns WHERE table_schema = '{name}'"
        )
    };
    let columns_of = async |schema: &str| contract_server().value(&columns(schema)).await.replace(schema, "HERE");
    let (printed, made) = (columns_of(&name).await, columns_of(&made).await);
    assert!(printed.contains("delivery_1 due_ms"), "{printed}");
    assert_eq!(printed, made);
    let store = PostgresStore::open(super::link::address(&contract_server().url(), &name), Options::default()).await;
    store.expect("a relay works with it").close().await;
    let refused = vero_relay(directory.path(), &["store", "schema", "--name", "x; DROP"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("no plain name"), "{}", err(&refused));
}
