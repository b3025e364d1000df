//! Opens a session: one host after another, and then a look whether it is as it must be.

use tokio_postgres::{Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::session::Session;
use super::trouble::Trouble;

/// The oldest version that has what the schema and the session need. Its number as `server_version_num` has it.
const VERSION_MIN: u32 = 150_000;

/// What a session must have, by what and why. `search_path` is the schema's beside them.
const SETTINGS: [(&str, &str); 12] = [
    // A plan made for each call costs more than the call; and one made for the first values may be a bad one for all others.
    ("plan_cache_mode", "force_generic_plan"),
    // The tables have no statistics, since nothing vacuums them: a plan that was made while one was empty would read all of it for as long
    // as the connection lives. Each statement has an index.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // A list of a few reads a few: whoever first looks for all that are meant and then sorts them reads a whole range.
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    // It takes longer to start a worker than to answer.
    ("max_parallel_workers_per_gather", "0"),
    // Compiling takes longer than any statement here.
    ("jit", "off"),
    // What nobody waits for any more, because its connection is closed, ends within this time.
    ("client_connection_check_interval", "1s"),
    // A statement that is cancelled while its commit waits for the standby *succeeds*: deadlines are ours.
    ("statement_timeout", "0"),
    // A role that hears errors alone would not hear that the standby has not a commit.
    ("client_min_messages", "warning"),
    // A connection at rest is not closed.
    ("idle_session_timeout", "0"),
];

/// Opens a session with the first host that takes writes.
pub async fn open(address: &Address, purpose: &str) -> Result<Session, Trouble> {
    let connector = address.encryption.connector().await?;
    let mut troubles = Vec::new();
    for (name, config) in &address.hosts {
        let whom = format!("PostgreSQL at {name}");
        let opened = one(whom.clone(), with_settings(config, address, purpose), connector.clone(), address);
        match tokio::time::timeout(address.host_within, opened).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(trouble)) => troubles.push(trouble),
            Err(_) => {
                let within = address.host_within;
                troubles.push(Trouble::Away(format!("{whom} does not answer: no session began within {within:?}")));
            }
        }
    }
    Err(Trouble::of_all(troubles))
}

/// What must be in force, with its value.
fn wanted(address: &Address) -> impl Iterator<Item = (&str, &str)> {
    SETTINGS.into_iter().chain([("search_path", address.schema())])
}

fn with_settings(config: &Config, address: &Address, purpose: &str) -> Config {
    let mut config = config.clone();
    // The last one counts, so what the URL says for itself stands first.
    let mut options = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
    wanted(address).for_each(|(name, value)| options.push_str(&format!("-c {name}={value} ")));
    config.options(options.trim_end()).application_name(format!("vero-relay {purpose}"));
    config
}

async fn one(whom: String, config: Config, tls: MakeRustlsConnect, address: &Address) -> Result<Session, Trouble> {
    let (client, connection) = config.connect(tls).await.map_err(|error| refused(&whom, &error))?;
    let session = Session::begin(whom, client, connection);
    // By the simple protocol, so that a pooler without prepared statements is told of by the settings that it drops as well.
    let asked = wanted(address).map(|(name, _)| format!("current_setting('{name}', true)"));
    let asked: Vec<String> = asked.collect();
    let question = format!(
        "SELECT {}, current_setting('server_version_num'), current_setting('transaction_read_only'), pg_is_in_recovery()",
        asked.join(", ")
    );
    let answer = session.client.simple_query(&question).await.map_err(|error| session.trouble(&error))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |at: usize| row.and_then(|row| row.try_get(at).ok().flatten()).unwrap_or_default();
    let found: Vec<&str> = (0..asked.len()).map(value).collect();
    let [version, read_only, recovering] = [0, 1, 2].map(|at| value(asked.len() + at));
    is_as_it_must_be(&session.whom, address, &found, version)?;
    if read_only != "off" {
        let what = match recovering {
            "t" => "is a standby, which takes no writes: it will when it is promoted",
            _ => "takes no writes: default_transaction_read_only is on",
        };
        return Err(Trouble::Away(format!("{} {what}", session.whom)));
    }
    Ok(session)
}

/// What the server says to a session that it does not begin.
fn refused(whom: &str, error: &tokio_postgres::Error) -> Trouble {
    match error.as_db_error() {
        // pgbouncer, of what it does not know.
        Some(said) if said.code().code() == "08P01" => Trouble::Refused(format!(
            "{whom}: {}: a pooler between takes no options: name them in its ignore_startup_parameters (pgbouncer), and the relay says \
             what else is to be done",
            said.message()
        )),
        // A setting that came with a later version.
        Some(said) if said.code().code() == "42704" => Trouble::Refused(format!(
            "{whom}: {}: the relay needs PostgreSQL {} or later",
            said.message(),
            VERSION_MIN / 10_000
        )),
        _ => Trouble::told(whom, error, None),
    }
}

fn is_as_it_must_be(whom: &str, address: &Address, found: &[&str], version: &str) -> Result<(), Trouble> {
    if version.parse().is_ok_and(|version: u32| version < VERSION_MIN) {
        let (needed, found) = (VERSION_MIN / 10_000, version.parse::<u32>().unwrap_or_default() / 10_000);
        return Err(Trouble::Refused(format!(
            "{whom} is version {found}, and the relay needs PostgreSQL {needed} or later"
        )));
    }
    let missing: Vec<String> = wanted(address)
        .zip(found)
        .filter(|((_, wanted), found)| wanted != *found)
        .map(|((name, wanted), _)| format!("ALTER ROLE … SET {name} = '{wanted}';"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Trouble::Refused(format!(
        "{whom}: a pooler between drops the options of the session. Set them for the user in the URL, on the server: {}",
        missing.join(" ")
    )))
}
