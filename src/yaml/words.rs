//! The words that other programs have for what stands in this config, and the nearest of ours.
//!
//! One table for keys and operators, one for event types. A word is looked for three times: the same letters in another style
//! (`startsWith`), the same meaning (`begins_with`), and nearly the same letters (`start_with`).

use strsim::damerau_levenshtein;

/// Our word, and what others call the same, in lower case and without anything between the letters. Only what the place can have
/// is suggested, so one word of theirs may stand beside several of ours.
const SAME: [(&str, &str); 71] = [
    // At the top.
    ("sources", "input inputs origin origins producer producers ingress hooks webhooks webhook receivers"),
    (
        "destinations",
        "dest dests target targets output outputs sink sinks receiver receivers endpoint endpoints channels notifiers exporters publishers",
    ),
    ("rules", "route routes routing filter filters subscription subscriptions pipeline pipelines policies triggers"),
    ("listen", "bind bindaddress addr address host port server listenaddress httplisten"),
    ("data_dir", "data directory dir storage statedir storagepath datapath workdir"),
    ("admin", "api dashboard management metrics"),
    ("public_url", "externalurl baseurl"),
    ("store", "retention journal history queue"),
    ("watch", "autoreload hotreload reload"),
    ("defaults", "global globals common"),
    ("notify", "notifications notification alerts alert alerting alarms oncall"),
    // In a source.
    ("expect_every", "expect silentafter maxsilence heartbeat deadman"),
    // In a rule.
    ("name", "id title label"),
    ("match", "when if where condition conditions filter filters matches matchers on only expr"),
    (
        "to",
        "dest destination destinations target targets send sendto output outputs sink sinks receiver receivers then notify deliver forward forwardto route",
    ),
    ("stop", "final last break halt exclusive terminate"),
    ("any", "or anyof oneof should some either"),
    ("all", "and allof must every both"),
    ("none", "nor noneof mustnot neither"),
    // In a destination.
    ("url", "uri endpoint href address link webhook webhookurl apiurl hook target"),
    ("method", "verb httpmethod"),
    ("headers", "header httpheaders"),
    ("auth", "authentication authorization credentials"),
    ("bearer", "token bearertoken apikey accesstoken"),
    ("basic", "basicauth userpass"),
    ("username", "user login"),
    ("password", "pass passwd pwd secret"),
    ("json", "body payload data jsonbody"),
    ("text", "message body msg content template format"),
    ("blocks", "attachments blockkit"),
    ("path", "file filename filepath location output"),
    ("timezone", "tz zone timezoneid"),
    ("token", "secret key apikey password urltoken"),
    (
        "signing_secrets",
        "secret secrets hmac hmacsecret signature signaturesecret signingkey signingkeys webhooksecret",
    ),
    ("rate", "ratelimit throttle limit maxrate rps requestspersecond"),
    ("timeout", "deadline requesttimeout"),
    ("retry", "retries retrypolicy backoff"),
    ("concurrency", "parallel parallelism workers maxconcurrency threads maxinflight"),
    ("max_attempts", "attempts maxretries retries tries limit"),
    ("initial", "initialdelay initialinterval delay min mininterval start backoff"),
    ("max", "maxdelay maxinterval maxbackoff cap"),
    ("factor", "multiplier backofffactor"),
    ("give_up_after", "maxelapsedtime expire deadline maxduration giveup"),
    ("max_age", "ttl age maxtime keep expire"),
    ("max_size", "size bytes maxbytes limit"),
    // What goes out together, first, and not by night.
    ("digest", "batch batching grouping group summary bundle aggregate aggregation"),
    ("urgent", "priority important critical immediate"),
    ("quiet", "quiethours quiettime donotdisturb dnd night mute silence"),
    ("every", "window interval period"),
    ("by", "groupby groupedby fields keys"),
    ("max", "limit examples maxevents"),
    ("breakdown", "countby splitby facet"),
    ("from", "start begin starts"),
    ("to", "end until till ends"),
    ("days", "weekdays dayofweek"),
    // Who is told of trouble.
    ("repeat", "every interval remind repeatevery renotify"),
    ("after", "delay grace"),
    ("age", "maxage oldest"),
    ("deliveries", "events count messages"),
    // An app of Slack's.
    ("token", "bottoken slackbottoken accesstoken"),
    ("icon_emoji", "icon emoji"),
    // Operators.
    ("equals", "eq is equal equalto exact exactly term same"),
    ("not", "ne neq isnot notequal notequals notin nin doesnotequal except"),
    ("glob", "like ilike wildcard fnmatch mask"),
    ("regex", "regexp re rx matches match matchesregex pattern"),
    ("contains", "includes include has substring containing icontains"),
    ("starts_with", "prefix beginswith begins starts startingwith hasprefix"),
    ("ends_with", "suffix ends endingwith hassuffix"),
    ("exists", "present ispresent defined isdefined isset exist"),
    ("gt", "greater greaterthan above more morethan over after"),
    ("lt", "less lessthan below under before"),
];

/// The same for signs, and for words that end in one of the others.
const ALSO: [(&str, &str); 8] = [
    ("equals", "= =="),
    ("not", "!= <> !"),
    ("regex", "=~ ~ ~="),
    ("gt", ">"),
    ("gte", ">= => ge min atleast from since greaterorequal greaterthanorequal"),
    ("lt", "<"),
    ("lte", "<= =< le atmost until lessorequal lessthanorequal"),
    ("ignore_case", "caseinsensitive nocase insensitive i"),
];

/// Event types, by what others call them.
const TYPES: [(&str, &str); 12] = [
    ("sent", "send sends sending dispatched"),
    ("delivered", "deliver delivery deliveries"),
    ("opened", "open opens opening uniqueopen viewed read"),
    ("clicked", "click clicks clicking linkclick uniqueclick linkclicked"),
    ("failed", "fail fails failure failures error dropped rejected"),
    ("bounced", "bounce bounces hardbounce softbounce hardbounced softbounced undelivered"),
    ("converted", "convert conversion conversions goal"),
    ("unsubscribed", "unsubscribe unsubscribes unsub optout optedout listunsubscribe"),
    ("resubscribed", "resubscribe resub subscribe subscribed optin"),
    ("complained", "complaint complaints complain spam spamreport spamcomplaint markedasspam abuse"),
    ("user_created", "usercreate createuser newuser createduser signup useradded identified"),
    ("user_updated", "userupdate updateuser updateduser userchange userchanged profileupdated"),
];

/// A word as it is compared: small letters and digits, and nothing between them. Signs alone stay.
pub(crate) fn letters(word: &str) -> String {
    let kept: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if kept.is_empty() { word.trim().to_owned() } else { kept }
}

/// Longer words are no slips of ours: comparing them letter by letter would take long.
const WORD_CHARACTERS_MAX: usize = 100;
/// Words that are looked at for one.
const WORDS_MAX: usize = 1000;

/// The nearest of the known words, if one is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    within((word.trim().chars().count() / 3).max(1), word, known)
}

/// The same, if not more than one letter is wrong.
pub fn slipped<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    within(1, word, known)
}

fn within<'k>(allowed: usize, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.chars().nth(WORD_CHARACTERS_MAX).is_some() {
        return None;
    }
    let lower = word.trim().to_lowercase();
    let spelt = letters(word);
    let distance = |candidate: &str| {
        let own = candidate.to_lowercase();
        if letters(candidate) == spelt { 0 } else { damerau_levenshtein(&lower, &own) }
    };
    known
        .into_iter()
        .take(WORDS_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= word.len() + 4)
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean …", if there is something near.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// Which of the known words of a place is meant by a key: its letters in another style, its meaning, or nearly its letters.
pub(crate) fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let known: Vec<_> = known.into_iter().collect();
    let spelt = letters(word);
    let alike = known.iter().find(|candidate| letters(candidate) == spelt).copied();
    let synonym = || {
        let rows = SAME.iter().chain(&ALSO).filter(|(_, theirs)| theirs.split(' ').any(|theirs| theirs == spelt));
        rows.filter_map(|(ours, _)| known.iter().find(|candidate| *candidate == ours).copied()).next()
    };
    // `max_body` for `body_max`.
    let parts = |word: &str| {
        let lower = word.to_lowercase().replace('-', "_");
        let mut parts: Vec<_> = lower.split('_').map(str::to_owned).collect();
        parts.sort_unstable();
        parts
    };
    let turned = || known.iter().find(|candidate| candidate.contains('_') && parts(candidate) == parts(word)).copied();
    alike
        .or_else(turned)
        .or_else(|| nearest(word, known.iter().copied()).filter(|near| near.len() > 3))
        .or_else(synonym)
        .or_else(|| nearest(word, known.iter().copied()))
}

/// Which of Vero's event types is meant.
pub(crate) fn meant_type(word: &str) -> Option<&'static str> {
    let spelt = letters(word);
    let spelt = ["email", "message", "mail", "event", "vero"]
        .iter()
        .find_map(|start| spelt.strip_prefix(start).filter(|rest| !rest.is_empty()))
        .unwrap_or(&spelt);
    let names = || TYPES.iter().map(|(ours, _)| *ours);
    let alike = names().find(|ours| letters(ours) == spelt);
    let synonym =
        || TYPES.iter().find(|(_, theirs)| theirs.split(' ').any(|theirs| theirs == spelt)).map(|(ours, _)| *ours);
    alike.or_else(synonym).or_else(|| nearest(spelt, names()))
}

/// The parts of a text in which somebody wrote a list: `a, b`, `a|b`, `a or b`. `None` where it is no list.
pub(crate) fn listed(text: &str) -> Option<Vec<&str>> {
    let by = |sign: &str| text.contains(sign).then(|| text.split(sign).map(str::trim).collect::<Vec<_>>());
    let parts = [",", "|", ";", " or ", " and ", "/", " "].iter().find_map(|sign| by(sign))?;
    let trimmed = parts.into_iter().map(|part| part.trim_matches(['[', ']', '"', '\'', ' ']));
    let parts: Vec<_> = trimmed.filter(|part| !part.is_empty()).collect();
    (parts.len() > 1).then_some(parts)
}

/// The name in `$NAME`, `$(NAME)`, `%NAME%`, `{{ env.NAME }}`, `{{ NAME }}` or `{NAME}`, as other programs have it.
pub(crate) fn variable_name(text: &str) -> Option<&str> {
    let text = text.trim();
    let between =
        |start: &str, end: &str| text.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)).map(str::trim);
    let name = between("$(", ")")
        .or_else(|| between("%", "%"))
        .or_else(|| between("${{", "}}"))
        .or_else(|| between("{{", "}}"))
        .or_else(|| between("{", "}"))
        .or_else(|| between("<", ">"))
        .or_else(|| text.strip_prefix("$env:"))
        .or_else(|| text.strip_prefix('$'))?;
    let name = name.strip_prefix("env.").or_else(|| name.strip_prefix("ENV.")).unwrap_or(name);
    let name = name.strip_prefix("secrets.").or_else(|| name.strip_prefix("vars.")).unwrap_or(name);
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (name.len() > 1 && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(is_name)).then_some(name)
}

/// A character that looks like another or like nothing, and its name.
pub(crate) fn odd_character(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{a0}' => "a no-break space",
        '\u{202f}' | '\u{2007}' => "a narrow no-break space",
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' => "a wide or thin space",
        '\u{3000}' => "an ideographic space",
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}' => {
            "an invisible character"
        }
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "an invisible sign for the direction of writing",
        '\u{2028}' | '\u{2029}' | '\u{85}' => "a line break of another kind",
        '\u{2018}'..='\u{201f}'
        | '\u{ab}'
        | '\u{bb}'
        | '\u{2039}'
        | '\u{203a}'
        | '\u{ff02}'
        | '\u{ff07}'
        | '\u{2032}'
        | '\u{2033}' => "a typographic quote",
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => "a typographic dash",
        '\u{ff1a}' => "a wide colon",
        '\u{ff0c}' | '\u{3001}' => "a wide comma",
        _ => return None,
    })
}

/// The first odd character of a word that people type by hand: a key, a type, the name of a destination.
pub(crate) fn oddity(word: &str) -> Option<String> {
    let (c, name) = word.chars().find_map(|c| Some((c, odd_character(c)?)))?;
    Some(format!("`{}` holds U+{:04X}, {name}: type it anew", word.trim(), u32::from(c)))
}

/// Whether a character cannot be seen.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(odd_character(c), Some(name) if name.contains("space") || name.contains("invisible"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("bounsed", ["sent", "bounced", "opened"]), Some("bounced"));
        assert_eq!(nearest("x", ["sent", "bounced"]), None);
        assert_eq!(nearest("Campaign", ["campaign"]), Some("campaign"));
        assert_eq!(nearest(&"x".repeat(1 << 20), ["campaign"]), None);
    }

    #[track_caller]
    fn check(word: &str, known: &[&str], expected: Option<&str>) {
        assert_eq!(meant(word, known.iter().copied()), expected, "{word}");
    }

    #[test]
    fn a_word_of_another_program_is_known_where_ours_can_stand() {
        const OPERATORS: [&str; 13] = [
            "equals",
            "glob",
            "regex",
            "contains",
            "starts_with",
            "ends_with",
            "exists",
            "gt",
            "gte",
            "lt",
            "lte",
            "not",
            "ignore_case",
        ];
        for (theirs, ours) in [
            ("eq", "equals"),
            ("startsWith", "starts_with"),
            ("starts-with", "starts_with"),
            ("begins_with", "starts_with"),
            ("like", "glob"),
            ("wildcard", "glob"),
            ("matches", "regex"),
            (">=", "gte"),
            (">", "gt"),
            ("!=", "not"),
            ("ne", "not"),
            ("is", "equals"),
            ("glbo", "glob"),
            ("case_insensitive", "ignore_case"),
        ] {
            check(theirs, &OPERATORS, Some(ours));
        }
        check("resembles", &OPERATORS, None);
        const TOP: [&str; 8] = ["data_dir", "listen", "admin", "sources", "destinations", "rules", "store", "defaults"];
        for (theirs, ours) in [
            ("destination", "destinations"),
            ("targets", "destinations"),
            ("routes", "rules"),
            ("dataDir", "data_dir"),
            ("port", "listen"),
        ] {
            check(theirs, &TOP, Some(ours));
        }
        check("filters", &["name", "match", "to", "stop"], Some("match"));
        check("filters", &TOP, Some("rules"));
    }

    #[test]
    fn an_event_type_is_known_by_other_names() {
        for (theirs, ours) in [
            ("open", "opened"),
            ("email_opened", "opened"),
            ("Bounce", "bounced"),
            ("hard_bounce", "bounced"),
            ("spam", "complained"),
            ("delivered ", "delivered"),
            ("unsubscribe", "unsubscribed"),
            ("userCreated", "user_created"),
            ("bounsed", "bounced"),
        ] {
            assert_eq!(meant_type(theirs), Some(ours), "{theirs}");
        }
        assert_eq!(meant_type("snoozed"), None);
    }

    #[test]
    fn a_list_in_a_text_is_taken_apart() {
        assert_eq!(listed("bounced, failed"), Some(vec!["bounced", "failed"]));
        assert_eq!(listed("bounced|failed"), Some(vec!["bounced", "failed"]));
        assert_eq!(listed("[bounced failed]"), Some(vec!["bounced", "failed"]));
        assert_eq!(listed("bounced"), None);
        assert_eq!(listed("bounced,"), None);
    }
}
