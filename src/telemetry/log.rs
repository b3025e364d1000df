//! The log: lines on standard error, which can neither kill nor stop anything.
//!
//! # Cast
//!
//! * [`start`]: from then on every `tracing` event becomes a line. Who logs never writes: a line goes into a [`queue`],
//!   bounded in lines and in bytes, and a thread of its own writes it out. A full queue drops lines, and counts them.
//! * [`out`]: that thread. A line that cannot be written is counted, and told when lines can be written again.
//! * [`lost`]: lines that nobody will read. [`level`]: how much is logged.
//! * [`escape`]: whatever a line holds, it stays one line, and says nothing to a terminal.
//! * [`Log`]: the handle of who started it. [`Log::finish`] waits for what is queued, and not for long.

mod escape;
mod level;
mod lost;
mod out;
mod queue;

use std::fmt;
use std::fmt::Write as _;
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use self::level::Form;
use self::queue::{Lines, Queue};

/// Lines of this process's log that nobody will read.
static LINES_LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
/// A panic's message is cut here: it may quote what it was about.
const PANIC_BYTES_MAX: usize = 300;

/// The counter of lines that were lost, of the whole process.
pub(super) fn lines_lost() -> Counter {
    LINES_LOST.clone()
}

/// Starts logging to standard error: text, or JSON lines with `VERO_RELAY_LOG_FORMAT=json`; how much is said by `VERO_RELAY_LOG`
/// (default `info`). Panics become lines of it. For the daemon, once.
pub fn start() -> Log {
    // What is no UTF-8 is told as any other odd word.
    let said = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (filter, odd_level) = level::filter(said("VERO_RELAY_LOG").as_deref());
    let (form, odd_format) = level::form(said("VERO_RELAY_LOG_FORMAT").as_deref());
    let style = match form {
        Form::Json => Style::Json,
        Form::Text => Style::Text { is_coloured: super::has_colours(&std::io::stderr()) },
    };
    let queue = Arc::new(Queue::new(lines_lost()));
    out::start(queue.clone(), style);
    // The subscriber's own complaints are printed with a macro that panics where standard error cannot be written.
    let log = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_ansi(false);
    let log = log.with_writer(Lines(queue.clone()));
    // A second start is refused and changes nothing.
    let _ = match style {
        Style::Json => log.json().with_target(false).map_event_format(JsonLine).try_init(),
        Style::Text { is_coloured } => log.event_format(TextLine { is_coloured }).try_init(),
    };
    let panics = Log { queue, style };
    let log = panics.clone();
    // The usual hook writes to standard error itself, and waits there for who does not read.
    std::panic::set_hook(Box::new(move |panic| panics.line(Level::ERROR, &in_words(panic))));
    odd_level.into_iter().chain(odd_format).for_each(|trouble| log.line(Level::WARN, &trouble));
    log
}

/// The log that was started.
#[derive(Clone)]
pub struct Log {
    queue: Arc<Queue>,
    style: Style,
}

impl Log {
    /// Whether there are colours.
    pub fn is_coloured(&self) -> bool {
        matches!(self.style, Style::Text { is_coloured: true })
    }

    /// Prints a text as it is, in its place among the lines; a JSON log gets it as a line.
    pub fn print(&self, level: Level, text: &str) {
        let text = text.trim_end();
        match self.style {
            _ if text.is_empty() => {}
            Style::Json => self.line(level, text),
            // Line by line: as one it would be cut where it is long.
            Style::Text { .. } => text.lines().for_each(|line| self.queue.push(format!("{line}\n").as_bytes())),
        }
    }

    /// Whether each line is a JSON object.
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// A line, whatever the filter says.
    fn line(&self, level: Level, message: &str) {
        self.queue.push(self.style.line(level, message).as_bytes());
    }

    /// Waits until everything logged so far is written, or for as long as is said.
    pub fn finish(&self, within: Duration) {
        self.queue.wait_until_written(within);
    }
}

/// What a panic said and where. An address of a person that it may quote is masked.
fn in_words(panic: &PanicHookInfo<'_>) -> String {
    let mut text = panic.payload_as_str().unwrap_or("no message").to_owned();
    text.truncate(text.floor_char_boundary(PANIC_BYTES_MAX));
    let masked = text.split(' ').map(|word| if word.contains('@') { "…@…" } else { word });
    let text = masked.collect::<Vec<_>>().join(" ");
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let mut words =
        format!("a bug: {} panicked at {}: {text}", thread.name().unwrap_or("a thread"), place.unwrap_or_default());
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        let _ = write!(words, "\n{backtrace}");
    }
    words
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Text { is_coloured: bool },
    Json,
}

impl Style {
    /// A line that `tracing` has not made.
    fn line(self, level: Level, message: &str) -> String {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match self {
            Style::Json => {
                let fields = serde_json::json!({ "message": message });
                let line = serde_json::json!({ "timestamp": time, "level": level.as_str(), "fields": fields });
                escape::json(&line.to_string()).into_owned() + "\n"
            }
            Style::Text { is_coloured } => text_line(is_coloured, &time, level, message),
        }
    }
}

fn text_line(is_coloured: bool, time: &str, level: Level, rest: &str) -> String {
    let rest = escape::text(rest);
    if !is_coloured {
        return format!("{time} {:>5} {rest}\n", level.as_str());
    }
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    format!("\x1b[2m{time}\x1b[0m \x1b[{colour}m{:>5}\x1b[0m {rest}\n", level.as_str())
}

/// An event as a line of text.
struct TextLine {
    is_coloured: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        let mut fields = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        context.format_fields(Writer::new(&mut fields), event)?;
        writer.write_str(&text_line(self.is_coloured, &time, *event.metadata().level(), &fields))
    }
}

/// An event as a line of JSON.
struct JsonLine(Format<Json>);

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&escape::json(line.trim_end_matches('\n')))?;
        writer.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter-free log writes for what `log` logs.
    #[track_caller]
    fn lines(style: Style, log: impl FnOnce()) -> String {
        let queue = Arc::new(Queue::new(Counter::default()));
        let builder =
            tracing_subscriber::fmt().log_internal_errors(false).with_ansi(false).with_writer(Lines(queue.clone()));
        match style {
            Style::Json => {
                let subscriber = builder.json().with_target(false).map_event_format(JsonLine).finish();
                tracing::subscriber::with_default(subscriber, log);
            }
            Style::Text { is_coloured } => {
                let subscriber = builder.event_format(TextLine { is_coloured }).finish();
                tracing::subscriber::with_default(subscriber, log);
            }
        }
        let (lines, _) = queue.take(Duration::ZERO);
        String::from_utf8(lines.concat()).expect("text")
    }

    const HOSTILE: &str = "x\n2026-01-01 INFO faked\r\u{1b}[31m\u{9b}2J\u{202e}live\u{2028}z\u{7f}";

    #[test]
    fn whatever_a_value_holds_a_line_of_text_stays_one_line_without_control_characters() {
        for is_coloured in [false, true] {
            let text = lines(Style::Text { is_coloured }, || {
                tracing::warn!(rule = %HOSTILE, also = HOSTILE, odd = ?HOSTILE, "config: {HOSTILE}");
            });
            let line = text.strip_suffix('\n').expect("a whole line");
            let line = line.replace("\x1b[2m", "").replace("\x1b[33m", "").replace("\x1b[0m", "");
            assert_eq!(escape::text(&line), line);
            assert!(line.contains(" WARN config: x\\n2026-01-01 INFO faked\\r"), "{line:?}");
            assert!(line.contains("\\u{202e}live\\u{2028}z"), "{line:?}");
        }
    }

    #[test]
    fn whatever_a_value_holds_a_line_of_json_stays_one_line_and_means_the_same() {
        let text = lines(Style::Json, || tracing::warn!(rule = %HOSTILE, "config: {HOSTILE}"));
        let line = text.strip_suffix('\n').expect("a whole line");
        assert_eq!(escape::text(line), line);
        let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(read["fields"]["rule"], HOSTILE);
        assert_eq!(read["level"], "WARN");
    }

    #[test]
    fn a_line_that_the_log_makes_itself_looks_like_the_others() {
        let text = Style::Text { is_coloured: false }.line(Level::WARN, "2 log lines were lost\nx");
        assert!(text.ends_with("Z  WARN 2 log lines were lost\\nx\n"), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&Style::Json.line(Level::WARN, "x\ny")).expect("JSON");
        assert_eq!((&read["level"], &read["fields"]["message"]), (&"WARN".into(), &"x\ny".into()));
        assert!(read["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
}
