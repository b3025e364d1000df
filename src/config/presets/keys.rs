//! The keys of a preset, and those by which a destination uses one.

use serde_json::{Value, json};

use super::super::policy::COMMON;
use super::super::sorting::DIGEST;
use crate::destination::KINDS;
use crate::yaml::keys::{Absent, Defaulted, Info, Key, Of, Section, Words, boolean, by_hand, key, text, word};
use crate::yaml::sight::Sight;

pub(in crate::config) const PRESET: Key<String> = key("preset", text())
    .seen(Sight::All)
    .about("A section that is written already, by its name: one of those that [are there](#presets), or of `presets:`. It stands in the place of the kind; where the kind stands beside it, its keys win over the preset's, each whole, and so do all keys here. The preset's win over `defaults`.")
    .example("pagerduty");
pub(in crate::config) const FIELDS: Key<()> = key("fields", by_hand(Of::Own("map of names to values", map)))
    .about("With `preset`: what it asks for. `vero-relay presets NAME` shows its fields, and the whole of it.")
    .example("{ routing_key: \"${PAGERDUTY_ROUTING_KEY}\" }");
pub(in crate::config) const PRESETS: Key<()> = key("presets", by_hand(Of::Named(keys)))
    .about("Presets of your own, by name, in the form of those that are there. A preset that no destination uses is read all the same.")
    .example("{ mine: { fields: { key: { required: true, secret: true } }, http: { url: \"https://crm.example.com/hook\", auth: { bearer: \"{key}\" } } } }");

/// The fields of a preset, by its key in a preset.
pub(super) const OF_PRESET: &str = "fields";
pub(super) const ABOUT: Key<String> =
    key("about", text()).seen(Sight::All).about("What it is for.").example("\"Contacts in the CRM.\"");
pub(super) const DOCUMENTATION: Key<()> = key("documentation", by_hand(Of::Texts))
    .seen(Sight::Url)
    .about("The addresses of the documentation that it was made from. `check` shows the first beside an error in `fields`.")
    .example("[\"https://crm.example.com/docs\"]");
pub(super) const CHECKED: Key<String> =
    key("checked", text()).seen(Sight::All).about("The day on which somebody read them.").example("2026-11-28");
pub(super) const WARNING: Key<String> = key("warning", text())
    .seen(Sight::All)
    .about("What `check` says wherever it is used.")
    .example("\"This API ends in May.\"");
const FIELDS_OF: Key<()> = key(OF_PRESET, by_hand(Of::Named(field_keys)))
    .about("What it asks for, by name: small letters and `_`. `{name}` in the kind's section and in `digest` is the place of one. A text that is nothing but a place becomes what is given; where nothing is given and there is no default, whatever holds the place is left out, and so is a map or a list that has nothing else.")
    .example("{ key: { about: \"The key.\", required: true, secret: true } }");

pub(super) const FIELD_ABOUT: Key<String> = key("about", text())
    .seen(Sight::All)
    .about("What it is, and where one finds it.")
    .example("\"Settings, API keys.\"");
pub(super) const REQUIRED: Defaulted<bool> =
    key("required", boolean()).about("Whether it must be given.").example("true").default(false);
pub(super) const SECRET: Defaulted<bool> = key("secret", boolean())
    .about("It gives access: it is shown nowhere, but for scheme and host of a URL. So its place is refused in what is shown (the host of a URL, a path, the name of a header) and in the code of a template, which might change it. A text or a URL.")
    .example("true")
    .default(false);
pub(super) const FORMS: [&str; 5] = ["text", "url", "template", "any", "choice"];
pub(super) const FORM: Key<String> = key("form", word(&FORMS))
    .about("What may be given. `text`: one that is the same for each event. `url`: an http or https address. `template`: one over the event, which always becomes a text. `any`: any YAML, with templates as in `json`; its place stands alone. `choice`: a key of `values`.")
    .example("template")
    .default(FORMS[0]);
pub(super) const VALUES: Key<()> = key("values", by_hand(Of::Own("map of names to texts", map)))
    .about("With `form: choice`: what each stands for.")
    .example("{ us: \"https://crm.example.com\", eu: \"https://eu.crm.example.com\" }");
pub(super) const DEFAULT: Key<()> =
    key("default", by_hand(Of::Own("any YAML", anything))).about("What it is where it is not given.").example("us");
pub(super) const EXAMPLE: Key<()> = key("example", by_hand(Of::Own("any YAML", anything)))
    .about("What it may be, for who is told that it is missing. `$${NAME}` stands for `${NAME}`, as everywhere.")
    .example("\"$${CRM_KEY}\"");
pub(super) const LIKE: Key<String> = key("like", text())
    .about("A glob that covers what is right: `check` warns where another text is given.")
    .example("\"https://*/hooks/*\"");
pub(super) const UNLIKE: Key<String> = key("unlike", text())
    .about("A glob that covers what is not right, or not for long: `check` warns where such a text is given, in the words of `about`.")
    .example("\"https://old.example.com/*\"");

fn map() -> Value {
    json!({ "type": "object" })
}

fn anything() -> Value {
    json!({})
}

/// One preset.
fn keys() -> Section {
    let own = [ABOUT.info, DOCUMENTATION.info, CHECKED.info, WARNING.info, FIELDS_OF.info];
    let common: Vec<_> = COMMON.into_iter().filter(|info| info.name != DIGEST.info.name).collect();
    let kinds = KINDS.map(|kind| Info { about: OF_KIND, ..with_places(kind.key()) });
    let names = KINDS.map(|kind| kind.name);
    Section::of(&own).and(&kinds).and(&[DIGEST_OF]).and(&common).one_of(&names)
}

const OF_KIND: Words = Words::Plain("The keys of a destination of this kind, with places.");
const DIGEST_OF: Info = Info {
    about: Words::Plain(
        "What a digest looks like: the keys of `digest` that the kind has for that, with places. A preset without it is refused beside `digest`, unless that says it.",
    ),
    absent: Absent::Nothing,
    example: "{ json: { count: \"{{ digest.count }}\" } }",
    ..with_places(DIGEST.info)
};

/// A key whose values are not known before its places are filled.
pub(super) const fn with_places(info: Info) -> Info {
    Info { of: Of::Own("map", map), sight: Sight::Names, ..info }
}

/// The keys that are read of a preset.
pub(super) fn digest() -> Info {
    DIGEST_OF
}

fn field_keys() -> Section {
    Section::of(&[
        FIELD_ABOUT.info,
        REQUIRED.info,
        SECRET.info,
        FORM.info,
        VALUES.info,
        DEFAULT.info,
        EXAMPLE.info,
        LIKE.info,
        UNLIKE.info,
    ])
}
