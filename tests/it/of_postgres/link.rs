//! The way to a server, where the server is well: what a link gives, and what it says where it is not let in.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;
use vero_relay::store::postgres::{Address, AddressOptions, Link, Snapshot, Step, Tls, ToSql, Trouble};

use super::{Place, Server, Setup, contract_server, proxy, schema};
use crate::harness::eventually;

/// An address with a schema.
pub fn address(url: &str, schema: &str) -> Address {
    let options = AddressOptions { schema: schema.to_owned(), ..AddressOptions::default() };
    Address::parse(url, options).expect("an address")
}

/// A link to the shared server, in a schema of its own.
async fn linked() -> Link {
    let schema = schema();
    Link::open(&address(&contract_server().url(), &schema), "test").await.expect("it opens")
}

#[track_caller]
fn refused(opened: Result<Link, Trouble>, says: &[&str]) {
    let trouble = opened.expect_err("it is not let in");
    let text = trouble.to_string();
    assert!(matches!(trouble, Trouble::Refused(_)), "{trouble:?}");
    says.iter().for_each(|says| assert!(text.contains(says), "{says}: {text}"));
    assert!(!text.contains(PASSWORD) && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn the_server_knows_what_a_link_is_for_and_the_session_is_as_it_must_be() {
    let link = linked().await;
    let asked = "SELECT current_setting(name) FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, at) ORDER BY at";
    let expected = [
        ("application_name", "vero-relay test"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        ("client_connection_check_interval", "1s"),
        ("statement_timeout", "0"),
    ];
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    let rows = link.rows(asked, &[&names]).await.expect("rows");
    let values: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(values, expected.map(|(_, value)| value));
    assert!(link.is_open());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_link() {
    let link = std::sync::Arc::new(linked().await);
    let ask = |n: i64| {
        let link = link.clone();
        tokio::spawn(async move {
            let one = link.rows("SELECT $1::int8", &[&n]).await.expect("rows")[0].get::<_, i64>(0);
            let values: [&(dyn ToSql + Sync); 1] = [&n];
            let steps = [Step { sql: "SELECT $1::int8 + 1", values: &values }];
            let two = link.transaction(Snapshot::Each, &steps, |_| true).await.expect("done");
            (one, two.answers[0][0].get::<_, i64>(0))
        })
    };
    let asked: Vec<_> = (0..50).map(ask).collect();
    for (n, asked) in (0..).zip(asked) {
        assert_eq!(asked.await.expect("no panic"), (n, n + 1));
    }
}

#[tokio::test]
async fn what_has_no_schema_is_in_the_one_of_the_address() {
    let link = linked().await;
    link.script("CREATE TABLE t (n int8); INSERT INTO t VALUES (7)").await.expect("run");
    let (name, n) =
        ("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 't'::regclass", "SELECT n FROM t");
    let found: String = link.rows(name, &[]).await.expect("rows")[0].get(0);
    assert!(found.starts_with("test_"), "{found}");
    assert_eq!(link.rows(n, &[]).await.expect("rows")[0].get::<_, i64>(0), 7);
}

#[tokio::test]
async fn a_statement_is_prepared_once_by_its_text() {
    let link = linked().await;
    for n in 0..5_i64 {
        assert_eq!(link.rows("SELECT $1::int8 + 1", &[&n]).await.expect("rows")[0].get::<_, i64>(0), n + 1);
    }
    let asked = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT $1::int8%'";
    assert_eq!(link.rows(asked, &[]).await.expect("rows")[0].get::<_, i64>(0), 1);
}

#[tokio::test]
async fn as_many_texts_as_there_are_tables_of_a_year_are_not_all_kept() {
    let link = linked().await;
    for n in 0..300 {
        link.rows(&format!("SELECT {n}"), &[]).await.expect("rows");
    }
    let asked = "SELECT count(*) FROM pg_prepared_statements";
    let kept: i64 = link.rows(asked, &[]).await.expect("rows")[0].get(0);
    assert!((1..=256).contains(&kept), "{kept}");
}

#[tokio::test]
async fn calls_at_once_are_answered_one_after_another_each_with_its_own_warnings() {
    let link = linked().await;
    let warn = "DO $$ BEGIN RAISE WARNING 'first'; RAISE NOTICE 'no warning'; RAISE WARNING 'second'; END $$";
    let (warned, calm) = tokio::join!(link.rows_said(warn, &[]), link.rows_said("SELECT 1", &[]));
    let warnings = warned.expect("done").1;
    assert_eq!(warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(warnings[0].code, "01000");
    assert_eq!(calm.expect("rows").1, []);
}

// ---- who is not let in ----------------------------------------------------------------------------------------------------------

const PASSWORD: &str = "correct horse";

/// A server that asks for passwords and has TLS, with the certificate of `tests/tls`.
async fn strict() -> &'static Server {
    static STRICT: OnceCell<Server> = OnceCell::const_new();
    let setup = Setup {
        place: Place::Loopback,
        settings: &[("ssl", "on")],
        hba: "local all postgres trust\n\
              host all unwelcome all reject\n\
              hostssl all encrypted all scram-sha-256\n\
              host all relay,poor all scram-sha-256\n",
        files: &[
            ("server.crt", include_bytes!("../../tls/server.pem")),
            ("server.key", include_bytes!("../../tls/server.key")),
        ],
    };
    let start = async || {
        let server = Server::start(setup).await;
        for user in ["relay", "encrypted", "poor", "unwelcome"] {
            server.query(&format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")).await;
        }
        server.query("CREATE SCHEMA vero_relay AUTHORIZATION relay").await;
        server
    };
    STRICT.get_or_init(start).await
}

async fn open_as(user: &str, rest: &str) -> Result<Link, Trouble> {
    let url = strict().await.url_as(user);
    Link::open(&address(&format!("{url}{rest}"), "vero_relay"), "test").await
}

#[tokio::test]
async fn who_has_the_password_is_let_in() {
    let link = open_as("relay:correct%20horse", "").await.expect("it opens");
    let asked = "SELECT current_user::text, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
    let row = link.rows(asked, &[]).await.expect("rows").remove(0);
    assert_eq!((row.get::<_, String>(0).as_str(), row.get::<_, bool>(1)), ("relay", false));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_and_what_to_do() {
    refused(open_as("relay:hunter2", "").await, &["PostgreSQL at 127.0.0.1:", "28P01", "password in the URL is wrong"]);
    refused(open_as("relay", "").await, &["asks for a password", "postgresql://USER:PASSWORD@"]);
    refused(open_as("nobody:hunter2", "").await, &["pg_hba.conf", "28000"]);
    refused(open_as("unwelcome:hunter2", "").await, &["pg_hba.conf"]);
    // Only with TLS.
    refused(open_as("encrypted:hunter2", "").await, &["no encryption", "TLS"]);
    let unknown = strict().await.url_as("relay:correct%20horse").replace("/postgres", "/nothing");
    let unknown = unknown.replace("postgresql:/nothing", "postgresql:/");
    refused(Link::open(&address(&unknown, "vero_relay"), "test").await, &["\"nothing\"", "3D000", "CREATE DATABASE"]);
}

#[tokio::test]
async fn who_lacks_a_right_is_told_what_to_grant() {
    open_as("relay:correct%20horse", "")
        .await
        .expect("it opens")
        .script("CREATE TABLE IF NOT EXISTS own ()")
        .await
        .expect("made");
    let poor = open_as("poor:correct%20horse", "").await.expect("it opens");
    let trouble = poor.rows("SELECT 1 FROM vero_relay.own", &[]).await.expect_err("no right");
    assert!(matches!(&trouble, Trouble::Refused(text) if text.contains("GRANT")), "{trouble:?}");
    assert!(poor.is_open());
    let missing = address(&strict().await.url_as("relay:correct%20horse"), "elsewhere");
    let link = Link::open(&missing, "test").await.expect("it opens");
    let trouble = link.script("CREATE TABLE t ()").await.expect_err("no such schema");
    assert!(matches!(&trouble, Trouble::Refused(text) if text.contains("CREATE SCHEMA")), "{trouble:?}");
}

async fn encrypted(host: &str, tls: Tls, ca: &[u8]) -> Result<Link, Trouble> {
    let ca = CertificateDer::pem_slice_iter(ca).collect::<Result<_, _>>().expect("PEM");
    let options = AddressOptions { tls: Some(tls), ca, ..AddressOptions::default() };
    let url = strict().await.url_as("encrypted:correct%20horse").replace("127.0.0.1", host);
    Link::open(&Address::parse(&url, options).expect("an address"), "test").await
}

#[tokio::test]
async fn a_certificate_counts_by_its_ca_and_its_name() {
    let (ca, stranger) = (include_bytes!("../../tls/ca.pem"), include_bytes!("../../tls/second.pem"));
    let link = encrypted("localhost", Tls::Verify, ca).await.expect("it opens");
    let asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(link.rows(asked, &[]).await.expect("rows")[0].get::<_, bool>(0));
    refused(encrypted("127.0.0.1", Tls::Verify, ca).await, &["another name", "127.0.0.1"]);
    refused(encrypted("localhost", Tls::Verify, stranger).await, &["nobody who is trusted", "`ca`"]);
    encrypted("127.0.0.1", Tls::Require, b"").await.expect("nobody's name is asked for");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_plain_text_where_tls_is_asked_for() {
    let plain = Server::start(Setup { place: Place::Loopback, ..Setup::default() }).await;
    for mode in ["require", "verify-full"] {
        let url = format!("{}?sslmode={mode}", plain.url());
        if mode == "verify-full" {
            let ca = CertificateDer::pem_slice_iter(include_bytes!("../../tls/ca.pem")).collect::<Result<_, _>>();
            let options = AddressOptions { ca: ca.expect("PEM"), ..AddressOptions::default() };
            refused(
                Link::open(&Address::parse(&url, options).expect("an address"), "test").await,
                &["no TLS", "ssl = on"],
            );
        } else {
            refused(Link::open(&address(&url, "vero_relay"), "test").await, &["no TLS", "ssl = on"]);
        }
    }
}

#[tokio::test]
async fn options_that_a_pooler_drops_are_noticed_and_those_of_the_role_count() {
    let server = Server::start(Setup::default()).await;
    let port = proxy::without_options(&server).await;
    server.query("CREATE ROLE relay LOGIN; CREATE SCHEMA vero_relay AUTHORIZATION relay").await;
    let address = address(&format!("postgresql://relay@127.0.0.1:{port}/postgres"), "vero_relay");
    let says = ["pooler", "SET plan_cache_mode = 'force_generic_plan';", "SET search_path = 'vero_relay';"];
    let opened = Link::open(&address, "test").await;
    let text = opened.as_ref().expect_err("they are missing").to_string();
    refused(opened, &says);
    // What is said there is what helps.
    let orders: Vec<&str> = text.split("on the server: ").nth(1).expect("what to do").split("; ").collect();
    for order in orders {
        server.query(&order.replace("ROLE …", "ROLE relay")).await;
    }
    Link::open(&address, "test").await.expect("it opens");
}

// ---- several statements as one --------------------------------------------------------------------------------------------------

async fn with_numbers() -> Link {
    let link = linked().await;
    link.script("CREATE TABLE t (n int8 PRIMARY KEY)").await.expect("run");
    link
}

async fn numbers(link: &Link) -> Vec<i64> {
    link.rows("SELECT n FROM t ORDER BY n", &[]).await.expect("rows").iter().map(|row| row.get(0)).collect()
}

const INSERT: &str = "INSERT INTO t VALUES ($1) RETURNING n";

#[tokio::test]
async fn statements_as_one_are_all_done_in_their_order_or_none_is() {
    let link = with_numbers().await;
    let steps: [Step<'_>; 3] = [
        Step { sql: INSERT, values: &[&1_i64] },
        Step { sql: INSERT, values: &[&2_i64] },
        Step { sql: "SELECT n FROM t ORDER BY n", values: &[] },
    ];
    let done = link.transaction(Snapshot::Each, &steps, |_| true).await.expect("done");
    assert!(done.is_committed && done.warnings.is_empty());
    assert_eq!(done.answers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
    // The second one fails, and what stands behind it cannot save the first.
    let steps: [Step<'_>; 3] = [
        Step { sql: INSERT, values: &[&3_i64] },
        Step { sql: INSERT, values: &[&1_i64] },
        Step { sql: INSERT, values: &[&4_i64] },
    ];
    let trouble = link.transaction(Snapshot::Each, &steps, |_| true).await.expect_err("a number twice");
    assert!(matches!(&trouble, Trouble::Broken(text) if text.contains("23505")), "{trouble:?}");
    // One that is not even sent, since its values do not fit.
    let steps: [Step<'_>; 2] = [Step { sql: INSERT, values: &[&5_i64] }, Step { sql: INSERT, values: &[&"six"] }];
    let trouble = link.transaction(Snapshot::Each, &steps, |_| true).await.expect_err("no number");
    assert!(matches!(trouble, Trouble::Broken(_)), "{trouble:?}");
    // One that is refused before anything begins.
    let steps: [Step<'_>; 2] =
        [Step { sql: INSERT, values: &[&7_i64] }, Step { sql: "SELECT FROM nothing", values: &[] }];
    let trouble = link.transaction(Snapshot::Each, &steps, |_| true).await.expect_err("no table");
    assert!(matches!(trouble, Trouble::Gone(_)), "{trouble:?}");
    assert_eq!(numbers(&link).await, [1, 2]);
}

#[tokio::test]
async fn who_looks_at_the_answers_may_take_it_all_back() {
    let link = with_numbers().await;
    let steps = [Step { sql: INSERT, values: &[&1_i64] }];
    let done = link.transaction(Snapshot::Each, &steps, |answers| answers[0].len() > 1).await.expect("done");
    assert!(!done.is_committed);
    assert_eq!(done.answers[0].len(), 1);
    assert!(numbers(&link).await.is_empty());
    let done = link.transaction(Snapshot::Each, &steps, |answers| answers[0].len() == 1).await.expect("done");
    assert!(done.is_committed);
    assert_eq!(numbers(&link).await, [1]);
}

#[tokio::test]
async fn what_one_snapshot_shows_does_not_change_meanwhile() {
    let link = with_numbers().await;
    for (snapshot, expected) in [(Snapshot::Each, "read committed"), (Snapshot::One, "repeatable read")] {
        let steps = [Step { sql: "SELECT current_setting('transaction_isolation')", values: &[] }];
        let done = link.transaction(snapshot, &steps, |_| true).await.expect("done");
        assert_eq!(done.answers[0][0].get::<_, String>(0), expected);
    }
}

#[tokio::test]
async fn many_statements_as_one_keep_their_order() {
    let link = with_numbers().await;
    let values: Vec<i64> = (0..200).collect();
    let values: Vec<[&(dyn ToSql + Sync); 1]> = values.iter().map(|n| [n as _]).collect();
    let sql = "INSERT INTO t SELECT $1::int8 WHERE $1::int8 = (SELECT count(*) FROM t) RETURNING n";
    let steps: Vec<Step<'_>> = values.iter().map(|values| Step { sql, values }).collect();
    let done = link.transaction(Snapshot::Each, &steps, |_| true).await.expect("done");
    assert!(done.answers.iter().all(|rows| rows.len() == 1), "each found those before it, and no other");
}

// ---- what went wrong ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_error_says_what_follows_and_the_link_stays_open() {
    let link = with_numbers().await;
    let kind = async |sql: &str| link.rows(sql, &[]).await.expect_err(sql);
    assert!(matches!(kind("SELECT FROM nothing").await, Trouble::Gone(_)));
    assert!(matches!(kind("SELECT 1 / 0").await, Trouble::Broken(_)));
    assert!(matches!(kind("SELEKT").await, Trouble::Broken(_)));
    assert!(matches!(kind("SELECT $1::int8").await, Trouble::Broken(_)), "a value is missing");
    let steps = [Step { sql: "SET TRANSACTION READ ONLY", values: &[] }, Step { sql: INSERT, values: &[&1_i64] }];
    let trouble = link.transaction(Snapshot::Each, &steps, |_| true).await.expect_err("no writes");
    assert!(matches!(trouble, Trouble::Away(_)), "{trouble:?}");
    assert!(link.is_open());
    assert!(numbers(&link).await.is_empty());
}

#[tokio::test]
async fn no_error_tells_what_is_in_a_row() {
    let link = linked().await;
    link.script("CREATE TABLE t (body text NOT NULL CHECK (length(body) < 3), n int8 UNIQUE)").await.expect("run");
    let trouble = link.rows("INSERT INTO t VALUES ($1, 1)", &[&"jane@example.com"]).await.expect_err("too long");
    assert!(matches!(&trouble, Trouble::Broken(text) if !text.contains("jane")), "{trouble:?}");
}

#[tokio::test]
async fn a_view_that_was_replaced_is_read_anew() {
    let link = linked().await;
    link.script("CREATE TABLE t (n int8); CREATE VIEW v AS SELECT n FROM t").await.expect("run");
    link.rows("SELECT * FROM v", &[]).await.expect("rows");
    link.script("CREATE OR REPLACE VIEW v AS SELECT n, 1 AS more FROM t").await.expect("run");
    let trouble = link.rows("SELECT * FROM v", &[]).await.expect_err("it was prepared for another one");
    assert!(matches!(trouble, Trouble::Again(_)), "{trouble:?}");
    link.rows("SELECT * FROM v", &[]).await.expect("rows");
}

#[tokio::test]
async fn who_waits_no_longer_closes_the_link_and_the_server_ends_what_nobody_waits_for() {
    let server = contract_server();
    let link = Link::open(&address(&server.url(), "gone"), "impatient").await.expect("it opens");
    let waiting = link.rows("SELECT pg_sleep(600)", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    assert!(!link.is_open());
    let trouble = link.rows("SELECT 1", &[]).await.expect_err("it is closed");
    assert!(matches!(&trouble, Trouble::Away(text) if text.contains("waited no longer")), "{trouble:?}");
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vero-relay impatient'";
    eventually("the server to end it", async || server.value(asked).await == "0").await;
}
