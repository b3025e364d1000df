//! The JSON Schema and the reference: that they are those of this version, and that they say what the reader says.
//!
//! `UPDATE_FIXTURES=1` writes both anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vero_relay::config::{self, Config, ConfigError, schema};
use vero_relay::destination::KINDS;
use vero_relay::rules::operators::OPERATORS;
use vero_relay::yaml::load;

use super::config::{Fixed, fixtures};
use super::judge::Judge;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).expect("read");
    load::parse(&text).ok().map(|node| schema::value_of(&node))
}

#[track_caller]
pub(super) fn is_committed(path: &str, made: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, made).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is old: UPDATE_FIXTURES=1 cargo test --test it -- schema:: api:: writes it",
        path.display()
    );
}

#[test]
fn the_schema_and_the_reference_in_docs_are_those_of_this_version() {
    is_committed("docs/config.schema.json", &format!("{:#}\n", schema::schema()));
    is_committed("docs/config.md", &schema::reference());
}

#[test]
fn the_reference_names_every_kind_where_it_says_that_a_destination_has_one() {
    let reference = schema::reference();
    let line = reference.lines().find(|line| line.contains("exactly one kind")).expect("the line");
    for kind in KINDS {
        assert!(line.contains(&format!("`{}`", kind.name)), "{}: {line}", kind.name);
    }
}

#[test]
fn the_schema_takes_every_good_config() {
    let judge = Judge::of(schema::schema());
    let mut files: Vec<PathBuf> = fixtures("good");
    assert!(files.len() >= 19, "the fixtures were found: {}", files.len());
    files.extend(fixtures("warn"));
    files.push(root().join("config.example.yaml"));
    let judged = |path: &PathBuf| judge.judge(&read(path).expect("YAML")).err();
    let wrong: Vec<_> =
        files.iter().filter_map(|path| Some(format!("{}: {}", path.display(), judged(path)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bad configs in which a schema sees nothing wrong: a key given twice, what two places or the surroundings make wrong, how large a duration
/// or a size is, and what only a compiler of templates, patterns, paths or URLs can tell.
const UNSEEN: [&str; 300] = [
    "a_bad_glob",
    "a_bad_glob_in_a_list",
    "a_bad_regex",
    "a_bad_regex_from_the_environment",
    "a_bad_regex_in_a_plain_scalar",
    "a_bad_regex_with_ignore_case",
    "a_batch_beside_a_digest",
    "a_batch_beside_quiet_hours",
    "a_batch_beside_what_is_urgent",
    "a_batch_in_envelopes_of_json",
    "a_batch_of_lines_in_an_object",
    "a_batch_of_texts_in_an_array",
    "a_batch_that_waits_for_longer_than_a_minute",
    "a_batch_to_a_url_of_an_event",
    "a_batch_under_a_key_of_each_event",
    "a_batch_under_an_empty_key",
    "a_ca_that_is_no_certificate",
    "a_channel_that_is_a_template",
    "a_choice_that_a_preset_does_not_have",
    "a_credential_that_cannot_be_read",
    "a_date_format_that_there_is_not",
    "a_dedupe_longer_than_values_are_kept",
    "a_destination_that_is_the_relay_by_another_spelling",
    "a_destination_that_is_the_relay_itself",
    "a_device_that_is_closed",
    "a_digest_by_a_rule",
    "a_digest_by_a_template",
    "a_digest_by_nine_fields",
    "a_digest_by_no_path",
    "a_digest_by_several_fields_in_one_text",
    "a_digest_of_a_field_that_there_is_not",
    "a_digest_of_a_value_that_one_event_has",
    "a_digest_of_events_as_they_came",
    "a_digest_of_two_days",
    "a_digest_of_which_a_preset_says_nothing",
    "a_digest_that_is_json_and_a_text",
    "a_digest_with_a_template_that_does_not_compile",
    "a_digest_with_blocks_for_http",
    "a_digest_without_a_breakdown_by_a_word",
    "a_drop_that_is_no_path",
    "a_field_that_a_preset_does_not_have",
    "a_field_that_a_preset_needs",
    "a_field_twice_in_a_match",
    "a_file_in_the_relays_own_directory",
    "a_file_that_a_type_can_make_the_relays_own",
    "a_file_that_is_a_device",
    "a_file_that_is_a_directory",
    "a_file_that_is_the_relays_own",
    "a_filter_that_there_is_not",
    "a_function_that_there_is_not",
    "a_group_by_an_age",
    "a_header_that_belongs_to_the_protocol",
    "a_hyphen_in_a_template",
    "a_key_twice_at_the_top",
    "a_key_twice_in_a_rule",
    "a_key_twice_in_json",
    "a_mask_by_a_template",
    "a_mode_that_is_none",
    "a_mode_that_nobody_can_write",
    "a_need_that_does_not_compile",
    "a_notice_with_a_template_that_does_not_compile",
    "a_number_that_json_cannot_hold",
    "a_number_that_json_never_writes",
    "a_path_that_climbs",
    "a_path_with_a_brace_that_is_never_closed",
    "a_path_with_a_place_that_there_is_not",
    "a_path_without_a_file",
    "a_pick_of_nothing",
    "a_pick_of_the_relays_own",
    "a_preset_by_the_name_of_one_that_is_there",
    "a_preset_that_there_is_not",
    "a_preset_whose_secret_would_be_shown",
    "a_preset_with_a_place_that_no_field_fills",
    "a_preset_with_anything_within_a_text",
    "a_preset_without_fields",
    "a_proxy_that_is_none",
    "a_query_that_is_a_template",
    "a_redaction_of_nothing",
    "a_redaction_of_the_relays_own",
    "a_redaction_with_nothing_behind_it",
    "a_rule_in_a_time_zone_that_there_is_not",
    "a_secret_file_that_cannot_be_read",
    "a_short_token_on_a_public_listener",
    "a_signature_in_a_header_of_the_relay",
    "a_signature_over_what_there_is_not",
    "a_signing_secret_that_is_too_short",
    "a_table_with_an_envelope",
    "a_table_without_columns",
    "a_template_for_a_preset_that_does_not_compile",
    "a_template_in_a_header",
    "a_template_in_a_slack_url",
    "a_template_in_the_host_of_a_url",
    "a_template_that_does_not_compile",
    "a_template_that_does_not_compile_in_a_block",
    "a_template_that_does_not_compile_in_a_folded_block",
    "a_template_that_does_not_compile_in_a_plain_scalar",
    "a_template_that_does_not_compile_in_a_url",
    "a_template_that_does_not_compile_in_json",
    "a_template_that_is_never_closed",
    "a_template_where_a_preset_wants_a_text",
    "a_test_expects_a_destination_that_there_is_not",
    "a_test_expects_a_digest_by_night_alone",
    "a_test_expects_a_digest_where_it_does_not_go",
    "a_test_expects_a_digest_where_there_is_none",
    "a_test_expects_content_for_a_destination_that_it_does_not_expect",
    "a_test_expects_content_for_a_destination_that_there_is_not",
    "a_test_expects_what_is_urgent_in_a_digest",
    "a_test_expects_what_is_urgent_where_nothing_is",
    "a_test_from_a_source_that_there_is_not",
    "a_test_names_a_destination_twice",
    "a_test_that_comes_in_at_no_moment",
    "a_test_that_expects_nothing",
    "a_test_through_an_anchor",
    "a_test_whose_event_has_a_key_twice",
    "a_test_whose_event_has_a_number_that_json_cannot_hold",
    "a_test_whose_event_has_no_type",
    "a_test_with_a_bad_regex",
    "a_test_with_nothing_behind_what_it_expects",
    "a_time_of_redaction_without_one",
    "a_time_zone_that_there_is_not",
    "a_url_for_a_preset_that_is_none",
    "a_url_with_a_password",
    "a_variable_that_is_empty",
    "a_variable_that_is_not_set",
    "admin_a_host_that_is_a_url",
    "admin_a_host_with_a_password",
    "admin_a_host_with_a_star",
    "admin_a_page_by_http",
    "admin_a_page_with_a_fragment",
    "admin_a_page_with_a_password",
    "admin_a_short_token",
    "admin_a_token_that_a_source_has",
    "admin_a_token_with_a_sign_that_no_header_has",
    "admin_a_variable_without_its_signs",
    "admin_beyond_loopback_without_a_token",
    "admin_no_token_in_the_list",
    "admin_one_token_for_both",
    "after_a_day_that_there_is_not",
    "after_a_time_that_clocks_go_over",
    "after_is_not_before_before",
    "an_age_as_a_column",
    "an_interpolation_that_is_never_closed",
    "an_interpolation_that_is_never_closed_with_a_default",
    "an_interpolation_that_is_not_understood",
    "an_interpolation_with_a_message",
    "an_order_by_a_rule",
    "an_order_by_a_template",
    "an_order_by_nine_fields",
    "an_order_by_nothing",
    "an_order_that_is_true",
    "another_kind_beside_a_preset",
    "before_a_time_that_clocks_show_twice",
    "columns_of_lines_of_json",
    "columns_that_are_templates_or_no_paths",
    "dead_letters_above_half_of_the_history",
    "dedupe_of_a_moment",
    "dedupe_of_nothing",
    "dedupe_of_two_days",
    "defaults_that_no_destination_has_and_that_are_given_twice",
    "destination_not_defined",
    "destination_not_defined_and_nothing_near",
    "digests_of_groups_by_what_they_do_not_have",
    "digests_of_what_stands_in_a_loop",
    "duration_beyond_its_limit",
    "email_a_password_in_the_clear",
    "email_a_password_without_a_user",
    "email_a_reply_to_that_is_a_template",
    "email_a_reply_to_that_is_no_address",
    "email_a_sender_that_is_a_template",
    "email_a_server_at_a_port_that_there_is_not",
    "email_a_server_at_port_zero",
    "email_a_server_that_no_host_is_called",
    "email_a_server_whose_port_is_wrong",
    "email_a_variable_with_letters_beyond_ascii",
    "email_an_address_of_ipv6_without_brackets",
    "email_starttls_beside_smtps",
    "email_two_recipients_in_one_template",
    "email_two_recipients_in_one_text",
    "email_two_recipients_with_a_semicolon",
    "expect_every_for_ever",
    "expect_every_of_a_moment",
    "expect_every_of_nothing",
    "fields_dropped_beside_a_digest",
    "file_on_nothing",
    "file_path_by_the_host",
    "file_that_any_of_several_relays_writes",
    "file_that_one_relay_and_all_write",
    "files_that_are_closed_by_nothing",
    "files_that_are_kept_and_never_closed",
    "files_that_are_kept_by_nothing",
    "files_that_are_packed_and_never_closed",
    "intake_below_the_largest_body",
    "keys_of_a_digest_with_nothing_behind_them",
    "keys_of_notify_with_nothing_behind_them",
    "keys_that_protect_with_nothing_behind_them",
    "listen_and_admin_are_the_same",
    "listen_and_admin_on_one_port",
    "no_destinations_at_all",
    "notify_a_backlog_of_a_moment",
    "notify_a_backlog_without_a_bound",
    "notify_a_file",
    "notify_a_name_that_is_not_there",
    "notify_a_name_too_many",
    "notify_a_name_twice",
    "notify_a_recipient_that_is_made_of_an_event",
    "notify_a_url_that_is_made_of_an_event",
    "notify_after_nothing",
    "notify_after_too_long",
    "notify_an_empty_list",
    "notify_of_nothing",
    "notify_repeated_too_often",
    "notify_repeated_too_seldom",
    "notify_where_nobody_reads",
    "once_per_a_moment",
    "once_per_a_moment_of_arrival",
    "once_per_a_template",
    "once_per_an_age",
    "once_per_an_id_of_the_relay",
    "once_per_in_a_rule_without_a_name",
    "once_per_nine_fields",
    "once_per_nothing",
    "once_per_null",
    "once_per_two_days",
    "once_per_two_fields_in_one_text",
    "postgres_a_ca_that_is_none",
    "postgres_a_ca_that_is_not_there",
    "postgres_a_password_in_a_bad_url",
    "postgres_a_schema_that_is_no_name",
    "postgres_a_url_of_another_kind",
    "postgres_a_url_without_a_host",
    "postgres_and_values_that_are_redacted",
    "postgres_tls_said_twice",
    "postgres_too_much_patience",
    "postgres_with_nothing",
    "quiet_days_of_nothing",
    "quiet_hours_by_an_offset",
    "quiet_hours_for_ever",
    "quiet_hours_from_the_end_of_a_day",
    "quiet_hours_in_an_abbreviation",
    "quiet_hours_of_a_preset_without_a_digest",
    "quiet_hours_of_events_as_they_came",
    "quiet_hours_that_end_as_they_begin",
    "relay_a_name_that_is_none",
    "renamed_from_its_own_name",
    "retry_that_begins_above_its_most",
    "size_beyond_its_limit",
    "slack_a_channel_in_the_place_of_a_webhook",
    "slack_a_channel_of_an_event_without_a_list",
    "slack_a_channel_that_is_a_link",
    "slack_a_channel_that_is_a_person",
    "slack_a_counter_of_a_webhook",
    "slack_a_counter_of_nothing",
    "slack_a_counter_with_four_at_once",
    "slack_a_host_in_the_place_of_a_webhook",
    "slack_a_method_in_the_place_of_a_webhook",
    "slack_a_token_with_its_scheme",
    "slack_a_webhook_in_the_place_of_a_token",
    "slack_an_api_in_the_clear",
    "slack_an_api_that_is_a_host",
    "slack_an_api_that_is_a_method",
    "slack_an_api_that_is_a_webhook",
    "slack_an_api_with_a_query",
    "slack_channels_for_one_channel",
    "slack_channels_that_are_links",
    "slack_channels_that_are_none",
    "slack_threads_by_nine_fields",
    "slack_threads_by_nothing",
    "slack_threads_by_what_is_no_field",
    "slack_threads_with_four_at_once",
    "slip_a_filter_of_liquid",
    "slip_a_filter_with_nothing_near",
    "slip_a_method_of_javascript",
    "slip_a_mode_in_other_notations",
    "slip_a_number_in_another_base",
    "slip_a_path_that_is_a_url",
    "slip_a_url_with_spaces",
    "slip_an_elsif",
    "slip_an_equation_in_braces",
    "slip_handlebars",
    "slip_liquid_in_single_quotes",
    "slip_names_in_one_text",
    "slip_three_braces",
    "slip_to_is_a_list_in_a_text",
    "slip_two_question_marks",
    "slip_two_urls_in_one",
    "the_place_is_right_behind_other_alphabets",
    "tls_a_certificate_that_is_not_there",
    "tls_a_file_without_a_certificate",
    "tls_a_file_without_a_key",
    "tls_a_key_of_another_certificate",
    "tls_a_key_that_is_encrypted",
    "tls_the_two_files_exchanged",
    "two_columns_of_one_name",
    "two_destinations_of_one_name",
    "two_destinations_that_write_one_file",
    "two_rules_of_one_name",
    "two_sources_of_one_name",
    "two_sources_with_one_token",
    "two_sources_with_one_token_in_braces",
    "two_tests_of_one_name",
];

#[test]
fn the_schema_refuses_every_bad_config_but_those_that_no_schema_can() {
    let judge = Judge::of(schema::schema());
    let (mut refused, mut unseen) = (0, Vec::new());
    for path in fixtures("bad") {
        let Some(value) = read(&path) else { continue };
        match judge.judge(&value) {
            Ok(()) => unseen.push(path.file_stem().expect("a name").to_string_lossy().into_owned()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 60, "{refused}");
    assert_eq!(unseen, UNSEEN, "what no schema sees");
}

#[test]
fn each_example_of_the_schema_is_taken_by_the_schema() {
    let whole = schema::schema();
    let mut count = 0;
    each_property(&whole, "", &mut |name, property| {
        count += 1;
        let mut alone = property.clone();
        alone["$defs"] = whole["$defs"].clone();
        let example = &property["examples"][0];
        Judge::of(alone.clone()).judge(example).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(default) = property.get("default") {
            Judge::of(alone).judge(default).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
    assert!(count > 100, "{count}");
}

/// Visits every property that has an example, with its path.
fn each_property(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property.get("examples").is_some() {
            visit(&path, property);
        }
        each_property(property, &path, visit);
    }
    for below in ["additionalProperties", "items"].into_iter().filter_map(|part| schema.get(part)) {
        each_property(below, path, visit);
    }
}

/// What the reader has against a config, as pairs of message and help.
fn problems(config: &Value) -> Vec<[String; 2]> {
    let told = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match Config::parse(Path::new("config.yaml"), config.to_string(), &Fixed) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Problems(report)) => {
            report.json().iter().map(|problem| [told(&problem["message"]), told(&problem["help"])]).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

/// No key is near it.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqq";

/// The keys that the reader says a map can have, asked by a key that it cannot have.
fn known_to_the_reader(config: &Value, pointer: &str) -> BTreeSet<String> {
    let mut asked = config.clone();
    asked.pointer_mut(pointer).expect("a map")[UNKNOWN] = json!(1);
    let told = problems(&asked);
    let about_it = told.iter().find(|[message, _]| message.contains(UNKNOWN));
    let [_, help] = about_it.unwrap_or_else(|| panic!("{pointer} takes any key: {told:?}"));
    let (_, names) = help.split_once(" can have ").or(help.split_once("the operators are ")).expect("names");
    let mut names: BTreeSet<String> =
        names.split(", ").flat_map(|name| name.split(" and ")).map(str::to_owned).collect();
    // Where no texts are compared, it means nothing.
    if help.contains("the operators are") && names.contains("equals") {
        names.insert("ignore_case".to_owned());
    }
    names
}

/// Follows a reference, and the one among several choices; or the map among them.
fn followed<'s>(schema: &'s Value, whole: &'s Value) -> &'s Value {
    let choices = schema["anyOf"].as_array();
    let is_asked = |choice: &&Value| choice.get("$ref").is_some() || choice.get("properties").is_some();
    let reference = choices.and_then(|choices| choices.iter().find(is_asked));
    match reference.unwrap_or(schema)["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).expect("a definition"),
        None => reference.unwrap_or(schema),
    }
}

/// Goes through a config and its schema side by side.
fn walk<'s>(config: &Value, at: &str, schema: &'s Value, whole: &'s Value, visit: &mut impl FnMut(&str, &'s Value)) {
    let schema = followed(schema, whole);
    visit(at, schema);
    let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match config {
        Value::Object(entries) => {
            for (key, value) in entries {
                let below = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
                walk(value, &step(key), below, whole, visit);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                walk(item, &step(&i.to_string()), &schema["items"], whole, visit);
            }
        }
        _ => {}
    }
}

fn every_key() -> Value {
    read(&root().join("tests/config/good/every_key_there_is.yaml")).expect("YAML")
}

/// What is not there, since it stands beside none of the journal's keys.
fn every_key_of_a_shared_store() -> Value {
    read(&root().join("tests/config/good/every_key_of_a_shared_store.yaml")).expect("YAML")
}

#[test]
fn the_schema_has_the_keys_that_the_reader_takes_and_no_others() {
    let whole = schema::schema();
    let mut visited: Vec<*const Value> = Vec::new();
    for config in [every_key(), every_key_of_a_shared_store()] {
        assert!(problems(&config).is_empty());
        walk(&config, "", &whole, &whole, &mut |at, schema| {
            let is_map = config.pointer(at).is_some_and(Value::is_object);
            // What stands in the defaults is read with each destination: the next test.
            if !is_map || schema["additionalProperties"] != json!(false) || at.starts_with("/defaults/") {
                return;
            }
            visited.push(std::ptr::from_ref(&schema["properties"]));
            let known = known_to_the_reader(&config, at);
            let properties = schema["properties"].as_object().expect("properties");
            assert_eq!(known, properties.keys().cloned().collect(), "{at}");
        });
    }
    each_closed_map(&whole, "", &mut |at, properties| {
        assert!(
            at.starts_with("/defaults/")
                || at.starts_with("/tests/expect/")
                || visited.contains(&std::ptr::from_ref(properties)),
            "{at} is not in the fixture"
        );
    });
}

/// Visits the properties of every map whose keys are known.
fn each_closed_map(schema: &Value, at: &str, visit: &mut impl FnMut(&str, &Value)) {
    if schema["additionalProperties"] == json!(false) {
        visit(at, &schema["properties"]);
    }
    for part in ["properties", "$defs"] {
        for (name, below) in schema[part].as_object().into_iter().flatten() {
            each_closed_map(below, &format!("{at}/{name}"), visit);
        }
    }
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    for below in ["additionalProperties", "items"].into_iter().filter_map(|part| schema.get(part)).chain(choices) {
        each_closed_map(below, at, visit);
    }
}

#[test]
fn defaults_have_the_keys_of_their_kind_and_those_of_every_destination() {
    let whole = schema::schema();
    let keys = |pointer: &str| -> BTreeSet<String> {
        let properties = whole.pointer(pointer).and_then(Value::as_object);
        properties.expect("properties").keys().cloned().collect()
    };
    let destination = "/properties/destinations/additionalProperties/properties";
    for kind in KINDS {
        let name = kind.name;
        let mut expected = keys(&format!("{destination}/{name}/properties"));
        expected.extend(keys(destination));
        let of_one = ["renamed_from", "preset", "fields"];
        expected.retain(|key| !of_one.contains(&key.as_str()) && KINDS.iter().all(|kind| kind.name != key));
        if !kind.has_answers {
            expected.remove("answers");
        }
        let defaults = keys(&format!("/properties/defaults/properties/{name}/properties"));
        assert_eq!(defaults, expected, "{name}");
        // And the reader takes each of them there.
        for key in defaults {
            let section = &whole["properties"]["defaults"]["properties"][name]["properties"][&key];
            let mut config = every_key();
            config["defaults"] = json!({ name: { key.clone(): section["examples"][0] } });
            let told = problems(&config);
            assert!(!told.iter().any(|[message, _]| message.contains("unknown key")), "{name}.{key}: {told:?}");
        }
    }
}

#[test]
fn every_operator_is_told_in_the_schema_and_in_the_reference() {
    let (whole, reference) = (schema::schema(), schema::reference());
    let operators = whole["$defs"]["test"]["properties"].as_object().expect("operators");
    assert!(operators.len() >= 13, "{}", operators.len());
    for (name, operator) in operators {
        assert!(!operator["description"].as_str().expect("a description").is_empty(), "{name}");
        assert!(reference.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}"))), "{name}");
    }
}

#[test]
fn each_example_of_an_operator_is_a_match() {
    for operator in OPERATORS {
        let read = config::parse_match(&format!("user.name: {}", operator.example));
        read.unwrap_or_else(|error| panic!("{}: {error}", operator.name));
    }
}

/// Sections that hold defaults and may be begun where they are not.
const BEGUN: [&str; 6] = ["admin", "limits", "store", "history", "dead_letters", "retry"];

/// Writes out every default that a config leaves unsaid; counts them.
fn say_defaults(config: &mut Value, schema: &Value) -> usize {
    let mut count = 0;
    match config {
        Value::Array(items) => items.iter_mut().for_each(|item| count += say_defaults(item, &schema["items"])),
        Value::Object(entries) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if BEGUN.contains(&name.as_str()) {
                    entries.entry(name).or_insert_with(|| json!({}));
                }
                if let Some(default) = property.get("default").filter(|_| !entries.contains_key(name)) {
                    entries.insert(name.clone(), default.clone());
                    count += 1;
                }
            }
            for (name, below) in entries {
                let property = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                count += say_defaults(below, property);
            }
        }
        _ => {}
    }
    count
}

#[test]
fn a_config_that_says_every_default_means_what_one_that_says_none_means() {
    let unsaid = json!({
        "sources": { "vero": { "token": "${VERO_TOKEN}" } },
        "rules": [{ "to": ["crm", "alerts", "archive"] }],
        "destinations": {
            "crm": { "http": { "url": "${CRM_URL}", "json": { "who": "{{ user.name }}" } } },
            "alerts": { "slack": { "url": "${SLACK_WEBHOOK_URL}" } },
            "archive": { "file": { "path": "x" } },
        },
    });
    let mut said = unsaid.clone();
    let count = say_defaults(&mut said, &schema::schema());
    assert!(count >= 30, "{count}: {said:#}");
    let meant = |config: &Value| {
        let loaded = Config::parse(Path::new("/etc/config.yaml"), config.to_string(), &Fixed);
        let (config, _) = loaded.unwrap_or_else(|error| panic!("{error}"));
        let each = |destination: &vero_relay::deliver::DestinationConfig| {
            let content = super::recipes::content(&config, &destination.name, r#"{"type":"sent"}"#, "vero", "x");
            format!("{} {:?} {:?} {content}", destination.name, destination.policy, destination.backlog)
        };
        let mut destinations: Vec<_> = config.destinations.iter().map(each).collect();
        destinations.sort();
        let addresses = (config.listen, config.admin.listen, config.data_dir.clone(), config.watch);
        let stops: Vec<_> = config.rules.rules().iter().map(|rule| rule.stop).collect();
        let kept = (config.retention, config.removed_grace);
        format!("{addresses:?} {:?} {kept:?} {stops:?} {destinations:#?}", config.limits)
    };
    assert_eq!(meant(&said), meant(&unsaid));
}
