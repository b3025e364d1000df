//! What an operator is told, as a message.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::messages::seen;
use super::{CHANNEL, Outcome, Slack, TEXT_MAX, THREAD};
use crate::destination::notice::{Notice, Teller, Told};
use crate::destination::template::slack_escaped;

/// Room for the line that says how much was left out.
const REST_CHARACTERS: usize = 100;
/// The most characters of a link; a longer one would leave no room for what is told, and is left out.
const LINK_CHARACTERS_MAX: usize = 1000;
/// Signs that every chat shows, and no words of Slack's for them.
const WRONG: &str = "\u{1f534}";
const OVER: &str = "\u{1f7e2}";

impl Teller for Slack {
    fn holds(&self, notice: &Notice) -> usize {
        written(notice).1
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Outcome> {
        async {
            let channel = self.app.as_ref().map(|app| app.fixed()).transpose();
            let place = |channel| [(CHANNEL, channel), (THREAD, None)];
            match channel.and_then(|channel| self.written(place(channel), Some(written(notice).0), None)) {
                Ok(body) => self.post(self.call_with(body)).await,
                Err(unsent) => unsent.into(),
            }
        }
        .boxed()
    }
}

/// The message: whole problems, as far as there is room; and how many.
fn written(notice: &Notice) -> (String, usize) {
    let has_link = notice.problems.iter().any(|problem| problem.page.is_some());
    let link = notice.page.as_deref().filter(|_| !has_link).and_then(link).unwrap_or_default();
    let room = TEXT_MAX - REST_CHARACTERS - link.chars().count();
    let mut text = String::new();
    let mut characters = 0;
    let mut held = notice.problems.len();
    for (at, problem) in notice.problems.iter().enumerate() {
        let mut shown = shown(problem);
        if at == 0 && shown.chars().count() > room {
            // What is wrong has room where its reasons have none.
            shown = self::shown(&Told { details: Vec::new(), ..problem.clone() });
        }
        characters += shown.chars().count();
        if characters > room {
            text.push_str(&format!("… and {} more, which the page shows\n", notice.problems.len() - at));
            held = at;
            break;
        }
        text.push_str(&shown);
    }
    text.push_str(&link);
    (text.trim_end().to_owned(), held)
}

fn shown(problem: &Told) -> String {
    let sign = if problem.is_over { OVER } else { WRONG };
    let mut shown = format!("{sign} {}", escaped(&problem.text));
    if let Some(link) = problem.page.as_deref().and_then(link) {
        shown.push(' ');
        shown.push_str(&link);
    }
    shown.push('\n');
    for detail in &problem.details {
        shown.push_str(&format!("> {}\n", escaped(detail)));
    }
    shown
}

/// A link in Slack's markup. The sign that would end its address is none that a URL needs, and what nobody sees is written as URLs write it: a blank would
/// end it too. `None` where it is too long.
fn link(page: &str) -> Option<String> {
    let page = crate::unseen::written(page, |sign, out| {
        let sign = sign.encode_utf8(&mut [0; 4]).to_owned();
        out.extend(percent_encoding::utf8_percent_encode(&sign, percent_encoding::NON_ALPHANUMERIC));
    });
    let link = format!("<{}|look>", slack_escaped(&page).replace('|', "%7C"));
    (link.chars().count() <= LINK_CHARACTERS_MAX).then_some(link)
}

/// As text, in which nothing mentions anybody, and nothing is unseen: <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
fn escaped(text: &str) -> String {
    slack_escaped(&seen(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::super::super::sample::built;
    use super::super::digests::tests::hostile;
    use super::super::strict::{Strict, Watched};
    use super::*;
    use crate::destination::notice::sample;

    fn text(notice: &Notice) -> String {
        written(notice).0
    }

    #[test]
    fn each_problem_is_a_line_with_its_link_and_nothing_in_it_is_markup() {
        insta::assert_snapshot!(text(&sample()), @r"
        🔴 crm fails: &lt;!channel&gt; 503 &amp; more <https://relay.example.com/#/destinations/crm|look>
        > 404 &lt;none&gt; (3)
        🟢 the deliveries to crm do not wait that long any more
        ");
        let over = Notice { problems: sample().problems.split_off(1), ..sample() };
        assert!(text(&over).ends_with("any more\n<https://relay.example.com/|look>"), "{}", text(&over));
        assert!(!text(&Notice { page: None, ..over }).contains("look"));
    }

    #[test]
    fn what_nobody_sees_is_a_blank_in_a_text_and_stays_in_an_address() {
        let mut notice = sample();
        notice.problems.truncate(1);
        notice.problems[0].details = vec!["404 no\u{202e}ne\u{200b}".to_owned()];
        notice.problems[0].page = Some("https://relay.example.com/\u{202e}|x".to_owned());
        insta::assert_snapshot!(text(&notice), @r"
        🔴 crm fails: &lt;!channel&gt; 503 &amp; more <https://relay.example.com/%E2%80%AE%7Cx|look>
        > 404 no ne
        ");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let one = sample().problems.remove(0);
        let of = |length: usize, count: usize| {
            let problem = Told { text: "x".repeat(length), details: Vec::new(), page: None, ..one.clone() };
            text(&Notice { problems: vec![problem; count], page: None, ..sample() })
        };
        let room = TEXT_MAX - REST_CHARACTERS - "🔴 \n".chars().count();
        assert!(!of(room, 1).contains("more, which"));
        assert!(of(room + 1, 1).starts_with("… and 1 more, which the page shows"));
        assert!(of(300, 20).ends_with("… and 8 more, which the page shows"), "{}", of(300, 20));
        assert!(of(300, 20).chars().count() <= TEXT_MAX);
        let problem = Told { text: "x".repeat(300), details: Vec::new(), page: None, ..one.clone() };
        let held = |count| written(&Notice { problems: vec![problem.clone(); count], page: None, ..sample() }).1;
        assert_eq!([12, 13, 20].map(held), [12, 12, 12]);
    }

    #[test]
    fn a_problem_by_itself_has_room_without_its_reasons() {
        let one = Told {
            text: "x".repeat(300),
            details: vec!["y".repeat(TEXT_MAX)],
            page: None,
            ..sample().problems.remove(0)
        };
        let (text, held) = written(&Notice { problems: vec![one.clone(), one], page: None, ..sample() });
        assert_eq!(held, 1);
        assert_eq!(text, format!("{WRONG} {}\n… and 1 more, which the page shows", "x".repeat(300)));
    }

    #[test]
    fn a_link_has_its_room_and_is_left_out_where_it_is_too_long() {
        let link_of = |path: usize| format!("https://relay.example.com/{}", "x".repeat(path));
        let around = "<https://relay.example.com/|look>".chars().count();
        let one = Told { text: "y".repeat(300), details: Vec::new(), page: None, ..sample().problems.remove(0) };
        for path in 0..LINK_CHARACTERS_MAX {
            let notice = Notice { problems: vec![one.clone(); 20], page: Some(link_of(path)), ..sample() };
            let text = text(&notice);
            assert!(text.chars().count() <= TEXT_MAX, "{path}");
            assert!(text.contains(" more, which the page shows"));
            assert_eq!(text.ends_with("|look>"), path + around <= LINK_CHARACTERS_MAX, "{path}");
        }
        let with = |path| shown(&Told { page: Some(link_of(path)), ..one.clone() });
        assert!(with(LINK_CHARACTERS_MAX - around).contains("|look>"));
        assert!(!with(LINK_CHARACTERS_MAX - around + 1).contains("|look>"));
    }

    /// Problems that would like to be more than a problem.
    fn notices() -> impl Strategy<Value = Notice> {
        let page = || {
            let shown = |name: String| name.replace(|c: char| c.is_whitespace() || c.is_control(), "");
            let page = hostile().prop_map(move |name| Some(format!("https://relay.example.com/#/{}", shown(name))));
            prop_oneof![Just(None), page]
        };
        let text = || prop_oneof![hostile(), hostile().prop_map(|text| text.repeat(40))];
        let told = (text(), prop::collection::vec(text(), 0..12), page(), any::<bool>(), hostile());
        let told = told.prop_map(|(text, details, page, is_over, about)| Told {
            kind: "dead_letters",
            about,
            since_ms: 0,
            is_over,
            text,
            details,
            page,
        });
        let all = (prop::collection::vec(told, 1..40), page(), hostile());
        all.prop_map(|(problems, page, title)| Notice { id: "0".to_owned(), at_ms: 0, title, problems, page })
    }

    #[test]
    fn a_strict_slack_takes_whatever_is_told_by_webhook_and_by_app() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (watched, destinations) = runtime.block_on(async {
            let watched = Watched::new(Strict::hurried().with_app("xoxb-1", &["#ops"]));
            let client = watched.client();
            let sections = ["{ url: \"http://127.0.0.1:1/T/B/x\" }", "{ token: xoxb-1, channel: \"#ops\" }"];
            let all = sections.map(|own| built("slack", own, "", &client).unwrap_or_else(|told| panic!("{told:?}")));
            (watched, all)
        });
        let cases = crate::seeds::cases(400);
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..Default::default() });
        let held = runner.run(&notices(), |notice| {
            watched.lock().forget();
            for destination in &destinations {
                let told = runtime.block_on(destination.teller().expect("it tells").tell(&notice));
                let strict = watched.lock();
                prop_assert!(strict.refusals().is_empty(), "{:?}", strict.refusals());
                prop_assert_eq!(told, Outcome::Delivered);
            }
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{error}"));
    }
}
