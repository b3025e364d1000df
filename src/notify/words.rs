//! What people read of problems.

use super::problem::Key;
use super::state::{Item, Problem, Said, Telling};
use crate::destination::{Notice, Told};
use crate::units::numbered;

/// Where the page is, and how it shows a thing.
#[derive(Clone, Debug)]
pub struct Page(String);

impl Page {
    /// The page at an address.
    pub fn at(url: &str) -> Self {
        Self(format!("{}/", url.trim_end_matches('/')))
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.0.clone()
    }

    /// Where it shows a destination.
    pub fn of_destination(&self, name: &str) -> String {
        // A name of a config needs no encoding.
        format!("{}#/destinations/{name}", self.0)
    }

    /// Where it shows what a problem is about.
    pub fn of(&self, key: &Key) -> String {
        let place = match key.destination() {
            Some(name) => return self.of_destination(name),
            None if key.kind.is_of_source() => "#/unrouted/refused".to_owned(),
            None => "#/config".to_owned(),
        };
        format!("{}{place}", self.0)
    }
}

/// A message as it is told. `details` says what else is known of a problem.
pub fn notice(telling: &Telling, page: Option<&Page>, details: impl Fn(&Key) -> Vec<String>) -> Notice {
    let told = |item: &Item| Told {
        kind: item.key.kind.name(),
        about: item.key.about.clone(),
        since_ms: item.since_ms,
        is_over: item.said.is_over(),
        text: sentence(item, telling.at_ms),
        details: if item.said.is_over() { Vec::new() } else { details(&item.key) },
        page: page.map(|page| page.of(&item.key)),
    };
    Notice {
        id: telling.id.clone(),
        at_ms: telling.at_ms,
        title: title(&telling.items),
        problems: telling.items.iter().map(told).collect(),
        page: page.map(Page::address),
    }
}

/// A message that says that there is nothing to say.
pub fn test_notice(id: String, at_ms: u64, page: Option<&Page>) -> Notice {
    let text = "this is a test: problems are told here, as `notify` in the config of vero-relay asks for it";
    let told = Told {
        kind: "test",
        about: String::new(),
        since_ms: at_ms,
        is_over: true,
        text: text.to_owned(),
        details: Vec::new(),
        page: None,
    };
    let title = "vero-relay: a test of `notify`".to_owned();
    Notice { id, at_ms, title, problems: vec![told], page: page.map(Page::address) }
}

/// What is wrong with one, and since when, as it is shown to who asks.
pub fn shown_now(problem: &Problem) -> &str {
    if problem.gone_ms.is_some() { problem.over() } else { &problem.text }
}

fn title(items: &[Item]) -> String {
    let over = items.iter().filter(|item| item.said.is_over()).count();
    let stands = items.len() - over;
    match (stands, over) {
        _ if items.len() == 1 => format!("vero-relay: {}{}", if over == 1 { "over: " } else { "" }, items[0].text),
        (stands, 0) => format!("vero-relay: {}", numbered(stands as u64, "problem")),
        (0, over) => format!("vero-relay: {} are over", numbered(over as u64, "problem")),
        (stands, over) => format!("vero-relay: {}, {over} over", numbered(stands as u64, "problem")),
    }
}

fn sentence(item: &Item, now_ms: u64) -> String {
    let Item { text, since_ms, said, .. } = item;
    match said {
        Said::Begun => format!("{text} (since {})", moment(*since_ms)),
        Said::Lasts(_) => {
            let lasted = lasting(now_ms.saturating_sub(*since_ms));
            format!("still: {text} (since {}, for {lasted})", moment(*since_ms))
        }
        Said::Over(gone_ms) => {
            let lasted = lasting(gone_ms.saturating_sub(*since_ms));
            format!("over: {text}, after {lasted} (from {} on)", moment(*since_ms))
        }
    }
}

/// How long something lasts, in the largest unit of which there are two.
pub(super) fn lasting(ms: u64) -> String {
    let seconds = ms / 1000;
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    numbered(number, unit)
}

/// The day of a moment, in UTC.
pub(super) fn day(unix_ms: u64) -> String {
    crate::time::rfc3339(unix_ms).chars().take("2026-11-25".len()).collect()
}

/// A moment to its minute.
fn moment(unix_ms: u64) -> String {
    let text = crate::time::rfc3339(unix_ms);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Kind;

    fn item(kind: Kind, about: &str, said: Said, text: &str) -> Item {
        Item { key: Key::new(kind, about), since_ms: 1_700_000_000_000, said, text: text.to_owned() }
    }

    fn of(items: Vec<Item>) -> Notice {
        let telling = Telling { id: "0".to_owned(), at_ms: 1_700_000_000_000 + 6 * 3_600_000, items };
        notice(&telling, Some(&Page::at("https://relay.example.com/vero/")), |key| {
            vec![format!("more of {}", key.about)]
        })
    }

    #[test]
    fn a_message_says_what_is_so_since_when_and_where_it_is_seen() {
        let told = of(vec![
            item(Kind::SourceSilent, "vero", Said::Begun, "no event came"),
            item(Kind::DestinationFailing, "crm", Said::Lasts(1), "crm fails: 503"),
            item(Kind::StoreFull, "", Said::Over(1_700_000_000_000 + 150_000), "events are accepted again"),
        ]);
        let lines: Vec<_> = told
            .problems
            .iter()
            .map(|told| {
                format!("{} | {} | {}", told.text, told.details.join(";"), told.page.clone().unwrap_or_default())
            })
            .collect();
        insta::assert_snapshot!(format!("{}\n{}", told.title, lines.join("\n")), @r"
        vero-relay: 2 problems, 1 over
        no event came (since 2023-11-14 22:13 UTC) | more of vero | https://relay.example.com/vero/#/unrouted/refused
        still: crm fails: 503 (since 2023-11-14 22:13 UTC, for 6 hours) | more of crm | https://relay.example.com/vero/#/destinations/crm
        over: events are accepted again, after 2 minutes (from 2023-11-14 22:13 UTC on) |  | https://relay.example.com/vero/#/config
        ");
    }

    #[test]
    fn one_problem_is_its_own_title() {
        let title = |items| of(items).title;
        let crm = |said| item(Kind::DestinationFailing, "crm", said, "crm fails");
        assert_eq!(title(vec![crm(Said::Begun)]), "vero-relay: crm fails");
        assert_eq!(title(vec![crm(Said::Over(0))]), "vero-relay: over: crm fails");
        assert_eq!(title(vec![crm(Said::Begun); 2]), "vero-relay: 2 problems");
        assert_eq!(title(vec![crm(Said::Over(0)); 2]), "vero-relay: 2 problems are over");
        assert_eq!(title(vec![crm(Said::Begun), crm(Said::Over(0))]), "vero-relay: 1 problem, 1 over");
    }

    #[test]
    fn how_long_is_said_in_the_largest_unit_of_which_there_are_two() {
        for (seconds, expected) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(lasting(seconds * 1000), expected);
        }
    }
}
