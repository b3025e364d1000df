//! `format: csv`: a record for each event, with the same columns in each, after RFC 4180 (<https://www.rfc-editor.org/rfc/rfc4180>).
//!
//! Records end by CR LF, and no value holds a CR: line breaks within values are written as LF. So a file that ends by CR LF ends with a whole
//! record, and what stands behind the last one was cut off.
//!
//! A value is written by strangers, and who opens the file may do so in a spreadsheet, which takes what begins with `=`, `+`, `-` or `@` for a
//! formula: such a value gets a `'` in front (<https://owasp.org/www-community/attacks/CSV_Injection>). A number is left as it is. Where people write
//! commas in numbers, spreadsheets part cells at `;`, whatever quotes there are, and some at a tab: what stands behind one is a value as well.

use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde_json::json;

use super::super::Delivery;
use super::open::Form;
use crate::event::configured::read_path;
use crate::event::{FieldId, FieldPath, FieldSet, FieldSetBuilder, Fields, RelayField, RelayFields};
use crate::unseen;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Info, Key, Of, by_hand, key, word};
use crate::yaml::raw::{Node, Value as Written};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Columns of a table. Each is looked for in every event, and nobody reads more.
const COLUMNS_MAX: usize = 200;
/// Of a column's name: it stands in the first line alone.
const NAME_BYTES_MAX: usize = 200;

/// How each record ends, and the header.
const END: &[u8] = b"\r\n";

const FORMATS: [&str; 2] = ["ndjson", "csv"];
const FORMULAS: [&str; 2] = ["escape", "keep"];

const FORMAT: Key<String> = key("format", word(&FORMATS))
    .about("`ndjson`: an event is a line of JSON. `csv`: it is a record with the values of `columns`, after a first line with their names.")
    .example("csv")
    .default(FORMATS[0]);
pub const COLUMNS: Key<()> = key("columns", by_hand(Of::Own("list of fields or map of names to fields", columns_schema)))
    .seen(Sight::All)
    .about("With `format: csv`: the fields that each record holds, written as in a match, `relay.id` and `relay.rule` too; at most 200. As a map, each has the name that stands before it. A field that an event does not have is empty, and an object is `{…}`.")
    .example("[relay.received_at, type, user.email, campaign.name]");
const FORMULA: Key<String> = key("formulas", word(&FORMULAS))
    .about("With `format: csv`: what is done to a value that a spreadsheet would take for a formula, one that begins with `=`, `+`, `-` or `@` (or a wide form of it) and is no number. `escape` puts a `'` before it, and before such a sign that stands behind a `;`, a tab or a line break within the value; `keep` is for files that only programs read.")
    .example("keep")
    .otherwise("`escape`");

/// Its keys.
pub const KEYS: [Info; 3] = [FORMAT.info, COLUMNS.info, FORMULA.info];

fn columns_schema() -> serde_json::Value {
    let field = json!({ "type": "string", "minLength": 1 });
    json!({ "oneOf": [
        { "type": "array", "items": field, "minItems": 1, "maxItems": COLUMNS_MAX },
        { "type": "object", "additionalProperties": field, "minProperties": 1, "maxProperties": COLUMNS_MAX },
        field,
    ] })
}

/// The columns of a file.
pub struct Table {
    fields: FieldSet,
    columns: Vec<Column>,
    keeps_formulas: bool,
    header: Vec<u8>,
}

/// Where a column's values come from.
#[derive(Clone, Copy)]
enum Column {
    Id,
    Rule,
    Field(FieldId),
}

/// Reads what the section says of it. Outer `None`: something is wrong, which has been told; inner: the file is no table.
pub fn read(reader: &Reader, entries: &mut Entries<'_, '_>) -> Option<Option<Table>> {
    let [format, columns, formulas] = KEYS.map(|key| entries.node(&key));
    let is_csv = match format {
        None => Some(false),
        Some(node) => one_of(reader, node, "format", FORMATS).map(|word| word == "csv"),
    };
    let keeps_formulas = match formulas {
        None => Some(false),
        Some(node) => one_of(reader, node, "formulas", FORMULAS).map(|word| word == "keep"),
    };
    if !is_csv? {
        let needless = [(columns, "columns"), (formulas, "formulas")];
        for (node, name) in needless.into_iter().filter_map(|(node, name)| Some((node?, name))) {
            let help = "write format: csv beside it, or take it out".to_owned();
            reader.error_with(
                node.id,
                format!("`{name}` belongs to `format: csv`, and this file is of lines of JSON"),
                help,
            );
        }
        return (columns.is_none() && formulas.is_none()).then_some(None);
    }
    let Some(columns) = columns else {
        let help = format!("name the fields: columns: {}", COLUMNS.info.example);
        reader.error_with(format?.id, "a table has columns, and none are named", help);
        return None;
    };
    read_columns(reader, columns, keeps_formulas?).map(Some)
}

fn one_of(reader: &Reader, node: &Node, name: &str, words: [&'static str; 2]) -> Option<&'static str> {
    let text = reader.text(node)?;
    let found = words.into_iter().find(|word| *word == text);
    if found.is_none() {
        let lower = words.into_iter().find(|word| word.eq_ignore_ascii_case(text.trim()));
        let help = lower.map_or_else(|| format!("write {} or {}", words[0], words[1]), |word| format!("write {word}"));
        reader.error_with(node.id, format!("`{text}` is not a `{name}` of files"), help);
    }
    found
}

fn read_columns(reader: &Reader, node: &Node, keeps_formulas: bool) -> Option<Table> {
    let help = || format!("write columns: {}", COLUMNS.info.example);
    let named: Vec<(Option<String>, &Node)> = match &node.value {
        Written::Map(entries) => entries.iter().map(|(key, node)| (Some(key.text.clone()), node)).collect(),
        _ => reader.list(node).into_iter().map(|node| (None, node)).collect(),
    };
    if named.is_empty() || named.len() > COLUMNS_MAX {
        reader.error_with(node.id, format!("`columns` are 1 to {COLUMNS_MAX} fields"), help());
        return None;
    }
    let mut fields = FieldSetBuilder::default();
    let mut columns = Vec::with_capacity(named.len());
    let mut names = Vec::with_capacity(named.len());
    let mut is_good = true;
    for (name, node) in named {
        let Some(path) = reader.text(node) else {
            is_good = false;
            continue;
        };
        let name = name.unwrap_or_else(|| path.to_owned());
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let message = format!("the name of a column has at most {NAME_BYTES_MAX} bytes and no line breaks");
            reader.error_with(node.id, message, "write a shorter one".to_owned());
            is_good = false;
        }
        if names.contains(&name) {
            reader.error_with(
                node.id,
                format!("two columns are named `{name}`"),
                "give each a name of its own: columns: { first: type, second: type }".to_owned(),
            );
            is_good = false;
        }
        let column = read_path(reader, node, "user.email").and_then(|path| {
            Some(match path {
                // It says what a rule asks for, and is another one at each retry.
                FieldPath::Relay(RelayField::Age) => {
                    let help = "write relay.received_at".to_owned();
                    reader.error_with(node.id, "an age is no column: it is read by rules alone", help);
                    return None;
                }
                FieldPath::Relay(RelayField::Id) => Column::Id,
                FieldPath::Relay(RelayField::Rule) => Column::Rule,
                path => Column::Field(fields.add(&path)),
            })
        });
        is_good &= column.is_some();
        columns.extend(column);
        names.push(name);
    }
    let header = record(names.iter().map(|name| cell(name, false)));
    is_good.then(|| Table { fields: fields.build(), columns, keeps_formulas, header })
}

impl Table {
    /// What a file of it is made of.
    pub fn form(&self) -> Form {
        Form { header: self.header.clone(), end: END }
    }

    /// The record of an event whose body, as it is written, is this; its end with it.
    pub fn record(&self, delivery: &Delivery, body: &[u8]) -> Vec<u8> {
        let event = &delivery.event;
        let relay = RelayFields { source: &delivery.source, received_ms: event.received_ms };
        // Bodies were checked when they arrived, and their CRC when they were read back.
        let read = self.fields.read(body, relay).ok();
        let escapes = !self.keeps_formulas;
        record(self.columns.iter().map(|column| match column {
            Column::Id => event.id.to_string(),
            Column::Rule => cell(&delivery.rule, escapes),
            Column::Field(field) => {
                read.as_ref().map_or_else(String::new, |read| self.value(&read.fields, *field, escapes))
            }
        }))
    }

    fn value(&self, fields: &Fields<'_>, field: FieldId, escapes: bool) -> String {
        cell(&fields.told(&self.fields, field).unwrap_or_default(), escapes)
    }
}

/// A value as it stands in a record, not quoted yet.
fn cell(value: &str, escapes_formulas: bool) -> String {
    let mut cell = String::with_capacity(value.len());
    let value = value.replace("\r\n", "\n").replace('\r', "\n");
    for part in value.split_inclusive([';', '\t', '\n']) {
        if escapes_formulas && is_formula(part.trim_end_matches([';', '\t', '\n'])) {
            cell.push('\'');
        }
        for character in part.chars() {
            match character {
                '\n' | '\t' => cell.push(character),
                // Programs that read tables end a text at one of these, or refuse it.
                character if character.is_control() => cell.push(char::REPLACEMENT_CHARACTER),
                character => cell.push(character),
            }
        }
    }
    cell
}

/// Whether a spreadsheet may take a value for a formula. White space and what nobody sees is passed over by some of them, and the wide forms of
/// the signs are taken for the signs.
fn is_formula(value: &str) -> bool {
    let seen = unseen::written(value, |_, _| {});
    let shown = seen.trim_start();
    shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) && !is_number(shown)
}

fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = unsigned(digits);
    let (whole, rest) = digits.split_once('.').unwrap_or((&digits, "0"));
    is_digits(whole) && is_digits(rest) && is_digits(&unsigned(exponent))
}

fn record(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .quote_style(QuoteStyle::Necessary)
        .from_writer(Vec::with_capacity(256));
    writer.write_record(cells.map(String::into_bytes)).expect("a vector takes all that is written");
    writer.into_inner().expect("a vector takes all that is written")
}

#[cfg(test)]
mod tests {
    use super::super::super::template::tests::delivery;
    use super::*;

    impl Table {
        /// One whose columns are some paths.
        pub(in super::super) fn of(paths: &[&str]) -> Self {
            let mut fields = FieldSetBuilder::default();
            let column = |path: &&str| match FieldPath::parse(path).expect("a path") {
                FieldPath::Relay(RelayField::Id) => Column::Id,
                FieldPath::Relay(RelayField::Rule) => Column::Rule,
                path => Column::Field(fields.add(&path)),
            };
            let columns = paths.iter().map(column).collect();
            let header = record(paths.iter().map(|path| (*path).to_owned()));
            Self { fields: fields.build(), columns, keeps_formulas: false, header }
        }
    }

    fn record_of(table: &Table, event: &Delivery) -> Vec<u8> {
        table.record(event, &event.event.body)
    }

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let written = record_of(&Table::of(&["v", "type"]), &delivery(&format!(r#"{{"type":"t","v":{json}}}"#)));
        assert_eq!(String::from_utf8(written).expect("text"), format!("{expected},t\r\n"), "{json}");
    }

    #[test]
    fn a_value_stands_as_it_is_told_and_quoted_where_it_must_be() {
        for (json, expected) in [
            (r#""plain""#, "plain"),
            (r#""a,b""#, r#""a,b""#),
            (r#""say \"hi\"""#, r#""say ""hi""""#),
            (r#""""#, ""),
            ("null", ""),
            ("[]", ""),
            ("true", "true"),
            ("12500.50", "12500.50"),
            ("1e400", "1e400"),
            ("9007199254740993", "9007199254740993"),
            (r#"["a", 2, null]"#, r#""a, 2""#),
            (r#"{"a":1}"#, "{…}"),
            (r#""ümläut €""#, "ümläut €"),
        ] {
            check(json, expected);
        }
    }

    #[test]
    fn no_value_breaks_a_record_or_ends_a_text() {
        for (json, expected) in [
            (r#""a\r\nb""#, "\"a\nb\""),
            (r#""a\rb\n""#, "\"a\nb\n\""),
            (r#""a\r\n""#, "\"a\n\""),
            (r#""a\u0000b\u001bc""#, "a\u{fffd}b\u{fffd}c"),
            (r#""a\tb""#, "a\tb"),
        ] {
            check(json, expected);
        }
    }

    #[test]
    fn what_a_spreadsheet_takes_for_a_formula_is_a_text_and_a_number_is_a_number() {
        for (json, expected) in [
            (r#""=1+1""#, "'=1+1"),
            (r#""+cmd|' /C calc'!A0""#, "'+cmd|' /C calc'!A0"),
            (r#""-2+3""#, "'-2+3"),
            (r#""@SUM(A1)""#, "'@SUM(A1)"),
            (r#"" =1""#, "' =1"),
            (r#""\t=1""#, "\t'=1"),
            (r#""\u200b=1""#, "'\u{200b}=1"),
            (r#""\u00a0@x""#, "'\u{a0}@x"),
            (r#""\uff1d1""#, "'＝1"),
            (r#"["=1"]"#, "'=1"),
            (r#""\n=1""#, "\"\n'=1\""),
            (r#""-5""#, "-5"),
            ("-5.25", "-5.25"),
            (r#""+491234567""#, "+491234567"),
            (r#""-1.""#, "'-1."),
            (r#""a=b""#, "a=b"),
            ("-1e5", "-1e5"),
            (r#""-1e5+1""#, "'-1e5+1"),
            (r#""a;=1+1""#, "a;'=1+1"),
            (r#""a; =1;b""#, "a;' =1;b"),
            (r#""a\t@x""#, "a\t'@x"),
            (r#""a\n=1""#, "\"a\n'=1\""),
            (r#""a;-5;b""#, "a;-5;b"),
            (r#""a\r=1""#, "\"a\n'=1\""),
        ] {
            check(json, expected);
        }
        let mut kept = Table::of(&["v"]);
        kept.keeps_formulas = true;
        assert_eq!(record_of(&kept, &delivery(r#"{"type":"t","v":"=1"}"#)), b"=1\r\n");
    }

    #[test]
    fn columns_hold_what_rules_find_and_the_relays_own() {
        let event =
            delivery(r#"{"type":"unsubscribed","id":7,"email":"a@b.c","campaign":{"campaign_title":"Spring"}}"#);
        let table = Table::of(&["relay.id", "relay.rule", "relay.received_at", "user.email", "campaign.name"]);
        let written = String::from_utf8(record_of(&table, &event)).expect("text");
        let id = event.event.id;
        let rule = &event.rule;
        assert_eq!(written, format!("{id},{rule},2023-11-14T22:13:20.000Z,a@b.c,Spring\r\n"));
        assert_eq!(table.header, b"relay.id,relay.rule,relay.received_at,user.email,campaign.name\r\n");
    }

    #[test]
    fn the_only_column_of_an_event_without_it_is_no_empty_line() {
        assert_eq!(record_of(&Table::of(&["v"]), &delivery(r#"{"type":"t"}"#)), b"\"\"\r\n");
    }

    #[test]
    fn a_record_read_by_a_reader_of_tables_is_what_was_written() {
        let hard = ["a,b", "\"", "x\ny", "", " lead", "trail ", "'=q", "ä\u{1f600}", ",,,\"\",\n"];
        let written = record(hard.iter().map(|cell| (*cell).to_owned()));
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&written[..]);
        let read: Vec<csv::StringRecord> = reader.records().map(|record| record.expect("a record")).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].iter().collect::<Vec<_>>(), hard);
    }
}
