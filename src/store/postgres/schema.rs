//! The tables: making them, and bringing those of an older program up. Each change of them is a numbered text that stays as it was published;
//! a release only adds one. So a program and the one before it run on one schema.

use super::address::Address;
use super::link::Link;
use super::trouble::Trouble;

/// A change may fill a column or an index of all that is kept.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(30 * 60);
/// How often a change is tried where somebody has a lock.
const TRIES: usize = 5;

/// One change of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version that the schema has afterwards.
    pub number: i32,
    /// Programs that know this version or a later one can work with it.
    pub min_version: i32,
    /// The statements about tables that are there once.
    pub tables: &'static str,
    /// The statements about each segment, with `{k}` in the place of its number.
    pub segment: &'static str,
}

/// All that a program knows of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Schema(pub &'static [Migration]);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Whether the schema itself is there.
    is_there: bool,
    /// The version of its tables and the oldest that a program may know; `None`: there are none.
    versions: Option<(i32, i32)>,
}

/// The segment of what outlives its own: rows are deleted there.
const OF_CARRIED: &str = "\
ALTER TABLE event_0 SET (autovacuum_enabled = on, toast.autovacuum_enabled = on, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE delivery_0 SET (autovacuum_enabled = on, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE attempt_0 SET (autovacuum_enabled = on, autovacuum_vacuum_scale_factor = 0.02);
";

/// The statements of a text, one by one.
pub fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n").filter(|statement| !statement.trim().is_empty())
}

/// The statements that have views show some segments: all events, deliveries and attempts, for people.
pub fn views(segments: &[i32]) -> Vec<String> {
    let view = |table: &str| {
        let parts: Vec<String> =
            segments.iter().map(|k| format!("SELECT {k} AS segment, * FROM {table}_{k}")).collect();
        format!("CREATE OR REPLACE VIEW {table} AS {}", parts.join(" UNION ALL "))
    };
    ["event", "delivery", "attempt"].map(view).to_vec()
}

impl Schema {
    /// What this program makes and works with.
    pub const OURS: Self = Self(&[Migration {
        number: 1,
        min_version: 1,
        tables: include_str!("schema.sql"),
        segment: include_str!("segment.sql"),
    }]);

    /// All statements that make the schema with its first segment, as one transaction.
    pub fn text(&self, name: &str) -> String {
        let make = format!(
            "CREATE SCHEMA IF NOT EXISTS \"{name}\";   -- needs the right to CREATE in the database, also where it is there: leave it out then\n\
             SET LOCAL search_path = \"{name}\";\n"
        );
        format!(
            "-- Run it as the role in the relay's URL, or SET ROLE to it first: a relay makes and drops tables as time goes on, and has to own them.\n{}",
            self.whole(&make)
        )
    }

    fn whole(&self, before: &str) -> String {
        let tables: Vec<&str> = self.0.iter().map(|migration| migration.tables).collect();
        let (version, min_version) = (self.version(), self.min_version());
        format!(
            "BEGIN;\nSET LOCAL lock_timeout = '2s';\n{before}\n{}\n{}\n\
             INSERT INTO meta (schema_version, min_version, cluster)\n  \
               VALUES ({version}, {min_version}, ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::int8);\n\
             INSERT INTO segment (k, state, since_ms, opened_ms, n_from)\n  \
               SELECT k, 'open', t.now_ms, t.now_ms, 0\n  \
               FROM generate_series(0, 1) k, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now_ms) t;\nCOMMIT;\n",
            tables.join("\n"),
            self.segments()
        )
    }

    /// The statements that make the first segments, and the views that show them.
    fn segments(&self) -> String {
        let views = views(&[0, 1]).join(";\n");
        format!("{}\n{OF_CARRIED}\n{}\n{views};\n", self.segment(0), self.segment(1))
    }

    /// The statements that make a segment.
    pub fn segment(&self, k: i32) -> String {
        let of_each: Vec<&str> = self.0.iter().map(|migration| migration.segment).collect();
        of_each.join("\n").replace("{k}", &k.to_string())
    }

    /// The version that the tables have which it makes.
    pub fn version(&self) -> i32 {
        self.0.iter().map(|migration| migration.number).max().unwrap_or(0)
    }

    fn min_version(&self) -> i32 {
        self.0.iter().map(|migration| migration.min_version).max().unwrap_or(0)
    }

    /// Makes the tables where there are none, and changes those of an older program: one step after the other, each whole or not at all.
    /// Of several that do this at once each step is done by one. Nothing is changed where the tables are of a later program: they are
    /// used where that allows it, and refused otherwise.
    pub async fn make(&self, address: &Address) -> Result<(), Trouble> {
        let link = Link::open(address, "schema").await?.with_deadline(WITHIN);
        let mut tries = 0;
        loop {
            let found = look(&link).await?;
            let script = match found.versions {
                None if found.is_there => self.whole(""),
                None => self.whole(&format!("CREATE SCHEMA \"{}\";", address.schema())),
                Some(versions) => match self.next(versions)? {
                    None => return Ok(()),
                    Some(migration) => change(migration, versions.0, &segments(&link).await?),
                },
            };
            let Err(trouble) = link.script(&script).await else { continue };
            if !link.is_open() {
                return Err(trouble);
            }
            // What a failed script has begun is over before anything else is asked.
            link.script("ROLLBACK").await?;
            // Another may have done it meanwhile.
            if look(&link).await? != found {
                continue;
            }
            tries += 1;
            if tries == TRIES || !trouble.passes() {
                return Err(explained(trouble));
            }
        }
    }

    /// What is to be done to tables of a version, if anything.
    fn next(&self, (version, min_version): (i32, i32)) -> Result<Option<&Migration>, Trouble> {
        let ours = self.version();
        if version < 1 {
            return Err(Trouble::Broken(format!("the table `meta` says version {version}, which there never was")));
        }
        if min_version > ours {
            return Err(Trouble::Refused(format!(
                "the schema is for programs that know version {min_version} or later, and this one knows {ours}: install a newer vero-relay"
            )));
        }
        Ok(self.0.iter().find(|migration| migration.number > version))
    }
}

/// One step, as a transaction that fails where the tables are not of that version any more.
fn change(migration: &Migration, version: i32, segments: &[i32]) -> String {
    let Migration { number, min_version, tables, segment } = migration;
    let of_each: Vec<String> = segments.iter().map(|k| segment.replace("{k}", &k.to_string())).collect();
    format!(
        "BEGIN; SET LOCAL lock_timeout = '2s';
         SELECT one FROM meta FOR UPDATE;
         SELECT 1 / count(*) FROM meta WHERE schema_version = {version};
         {tables}
         ;{}
         ;UPDATE meta SET schema_version = {number}, min_version = greatest(min_version, {min_version});
         COMMIT",
        of_each.join("\n;")
    )
}

async fn look(link: &Link) -> Result<Found, Trouble> {
    let sql = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = current_setting('search_path')), to_regclass('meta') IS NOT NULL";
    let rows = link.rows(sql, &[]).await?;
    let (is_there, has_tables) = rows.first().map_or((false, false), |row| (row.get(0), row.get(1)));
    if !has_tables {
        return Ok(Found { is_there, versions: None });
    }
    let rows = link.rows("SELECT schema_version, min_version FROM meta", &[]).await?;
    let row = rows.first().ok_or_else(|| Trouble::Broken("the table `meta` is empty".to_owned()))?;
    Ok(Found { is_there, versions: Some((row.get(0), row.get(1))) })
}

async fn segments(link: &Link) -> Result<Vec<i32>, Trouble> {
    Ok(link.rows("SELECT k FROM segment ORDER BY k", &[]).await?.iter().map(|row| row.get(0)).collect())
}

fn explained(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Refused(why) => Trouble::Refused(format!(
            "{why}; or let somebody who may run what `vero-relay store schema` prints, as the owner of the schema"
        )),
        trouble => trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Schema = Schema(&[
        Migration { number: 1, min_version: 1, tables: "one;", segment: "of_{k};" },
        Migration { number: 2, min_version: 1, tables: "two;", segment: "" },
        Migration { number: 3, min_version: 2, tables: "three;", segment: "more_of_{k};" },
    ]);

    #[test]
    fn a_step_follows_another_and_what_is_newer_is_left_alone() {
        let next = |versions| THREE.next(versions).map(|next| next.map(|migration| migration.number));
        assert_eq!(next((1, 1)), Ok(Some(2)));
        assert_eq!(next((2, 1)), Ok(Some(3)));
        assert_eq!(next((3, 2)), Ok(None));
        assert_eq!(next((9, 3)), Ok(None));
        let refused = next((9, 4)).expect_err("it needs more").to_string();
        assert!(refused.contains("version 4 or later, and this one knows 3: install"), "{refused}");
        assert!(matches!(next((0, 0)), Err(Trouble::Broken(_))));
    }

    #[test]
    fn what_is_new_is_made_of_all_steps_and_a_segment_too() {
        assert_eq!(THREE.segment(7), "of_7;\n\nmore_of_7;");
        let text = THREE.text("mine");
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(at("\"mine\"") < at("one;") && at("one;") < at("three;") && at("three;") < at("more_of_1;"));
        assert!(text.contains("VALUES (3, 2,"), "{text}");
        let step = change(&THREE.0[2], 2, &[0, 7]);
        assert!(step.contains("more_of_0;") && step.contains("more_of_7;") && !step.contains("{k}"), "{step}");
    }

    #[test]
    fn a_segment_is_made_by_statements_that_each_make_one_thing() {
        let text = Schema::OURS.segment(7);
        let made: Vec<&str> = statements(&text)
            .map(|statement| {
                let line = statement.lines().find(|line| line.starts_with("CREATE")).expect("it makes something");
                line.split_whitespace().nth(2).expect("a name")
            })
            .collect();
        assert_eq!(made, ["event_7", "event_7_stream", "delivery_7", "delivery_7_due", "delivery_7_dead", "attempt_7"]);
    }

    #[test]
    fn numbers_are_one_after_the_other() {
        for (migration, number) in Schema::OURS.0.iter().zip(1..) {
            assert_eq!(migration.number, number);
            assert!(migration.min_version <= number);
        }
    }
}
