//! What verbs print on a terminal: sizes and ages that people read, a question before something is done, and progress.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use serde_json::Value;

use crate::telemetry::has_colours;
pub(super) use crate::units::{grouped, numbered};
use crate::unseen::written;

/// `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", units[unit]) }
}

/// `3 min`, in one unit.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The verb behind a number of things.
pub(super) fn are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// A text from outside, fit for a terminal: on one line, and a blank for each sign that nobody sees.
pub(super) fn plain(text: &str) -> String {
    written(text, |_, out| out.push(' ')).into_owned()
}

/// A reason, with what the other side answered behind it.
pub(super) fn reason_of(value: &Value) -> Option<String> {
    let reason = plain(value["reason"].as_str()?);
    let answer =
        value["answer"].as_str().filter(|answer| !answer.is_empty()).map(|answer| format!(": {}", plain(answer)));
    Some(reason + &answer.unwrap_or_default())
}

/// Why a delivery waits, where it is not its turn alone.
pub(super) fn wait_of(delivery: &Value) -> Option<String> {
    Some(match delivery["waits_for"].as_str()? {
        "pause" => "the destination is paused".to_owned(),
        "breaker" => "the destination fails, and is tried with one delivery at a time".to_owned(),
        "digest" => format!("goes out with others, {}", until(delivery)?),
        "quiet" => format!("quiet hours, {}", until(delivery)?),
        "order" => match delivery["held"]["earlier"].as_str() {
            Some(earlier) => format!("waits for an earlier delivery of its order key: {}", plain(earlier)),
            None => "waits for an earlier delivery of its order key".to_owned(),
        },
        "retry_after" => "the destination said when to come back".to_owned(),
        _ => format!("next attempt at {}", plain(delivery["next_attempt_at"].as_str()?)),
    })
}

fn until(delivery: &Value) -> Option<String> {
    Some(format!("not before {}", plain(delivery["held"]["until"].as_str()?)))
}

/// How wide the terminal is that standard output is, in columns. None in a pipe, and where a terminal does not know.
pub(super) fn width() -> Option<usize> {
    width_of(&std::io::stdout())
}

/// The same of another stream.
pub(super) fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colours {
    pub(super) are_on: bool,
}

impl Colours {
    /// On a terminal, unless somebody wants none.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        Self { are_on: has_colours(stream) }
    }

    /// A text in a colour.
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.are_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A text in a colour, if standard output has colours.
pub(super) fn paint(code: &str, text: &str) -> String {
    Colours::of(&std::io::stdout()).paint(code, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([size(0), size(1023), size(1536), size(10 << 30)], ["0 B", "1023 B", "1.5 KiB", "10.0 GiB"]);
        assert_eq!([age(5), age(180), age(7200), age(999_999)], ["5 s", "3 min", "2 h", "11 d"]);
        assert_eq!(plain("a\x1b[31m\nb"), "a [31m b");
        assert_eq!(plain("pay\u{200b}pal, é 👩\u{200d}🚀"), "pay pal, é 👩\u{200d}🚀");
    }

    #[test]
    fn what_waits_says_why_where_there_is_something_to_say() {
        let wait = |told: Value| wait_of(&told);
        assert_eq!(wait(json!({ "waits_for": "pause" })).as_deref(), Some("the destination is paused"));
        assert!(wait(json!({ "waits_for": "breaker" })).is_some_and(|wait| wait.contains("fails")));
        let behind = json!({ "waits_for": "order", "held": { "by": "order", "earlier": "01a" } });
        assert_eq!(wait(behind).as_deref(), Some("waits for an earlier delivery of its order key: 01a"));
        let due = json!({ "waits_for": "due", "next_attempt_at": "2026-11-26T08:00:00Z" });
        assert_eq!(wait(due).as_deref(), Some("next attempt at 2026-11-26T08:00:00Z"));
        let asked = wait(json!({ "waits_for": "retry_after", "next_attempt_at": null }));
        assert_eq!(asked.as_deref(), Some("the destination said when to come back"));
        assert_eq!([wait(json!({ "waits_for": "due" })), wait(json!({ "waits_for": null }))], [None, None]);
    }
}
