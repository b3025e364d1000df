//! The tables, the budget and BENCHMARKS.md, all of whose text is made here.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use crate::asked::Api;
use crate::counted::Counted;
use crate::encrypted::Encrypted;
use crate::gathered::Gathered;
use crate::load::BOUNCED_IN_100;
use crate::measure::number_after;
use crate::scenarios::{Drained, Fan, Figures, Measured, scratch};
use crate::together::Together;
use crate::watched::Watched;

/// What it was measured on. It names no path and no host.
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    file_system: String,
    sync_ms: f64,
    load_average: String,
    date: String,
    commit: String,
}

impl Machine {
    /// Asks the kernel, the disk and git.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model =
            processors.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        Self {
            processor: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: number_after(&read("/proc/meminfo"), "MemTotal:") / f64::from(1 << 20),
            kernel: format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim()),
            file_system: file_system(&read("/proc/self/mountinfo")),
            sync_ms: sync_ms(),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            date: vero_relay::time::rfc3339(vero_relay::time::wall_ms())[..10].to_owned(),
            commit: commit(),
        }
    }

    /// As the report shows it.
    pub fn text(&self) -> String {
        let command: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        format!(
            "- vero-relay {}, commit {}, {}\n- `cargo bench --locked --bench throughput{}`\n- {}, {} cores, {:.0} GiB; {}; load \
             average {} before it began\n- data on {}, where writing and syncing 40 KiB takes {:.2} ms (median of 101)\n\n",
            env!("CARGO_PKG_VERSION"),
            self.commit,
            self.date,
            if command.is_empty() { String::new() } else { format!(" -- {}", command.join(" ")) },
            self.processor,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.load_average,
            self.file_system,
            self.sync_ms,
        )
    }
}

/// The kind of file system that the scratch directories lie on.
fn file_system(mounts: &str) -> String {
    let here = std::fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is there");
    // 36 35 98:0 / /mount/point rw,noatime master:1 - ext3 /dev/root rw: see proc_pid_mountinfo(5).
    let kind_of = |line: &str| {
        let point = line.split(' ').nth(4)?.to_owned();
        let kind = line.split(" - ").nth(1)?.split(' ').next()?.to_owned();
        here.starts_with(&point).then_some((point.len(), kind))
    };
    mounts.lines().filter_map(kind_of).max().map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

/// What a group of 64 events costs the disk at least.
fn sync_ms() -> f64 {
    use std::os::unix::fs::FileExt;
    let directory = scratch();
    let file = std::fs::File::create(directory.path().join("sync")).expect("a writable directory");
    let bytes = vec![b'x'; 40 << 10];
    let mut took: Vec<f64> = (0..101u64)
        .map(|i| {
            let start = Instant::now();
            file.write_all_at(&bytes, i * bytes.len() as u64).and_then(|()| file.sync_data()).expect("a working disk");
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[50]
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if is_changed { format!("{commit} with changes") } else { commit }
}

/// A scenario in short, told while the others run.
pub fn line(one: &Measured) -> String {
    let (relay, scenario) = (&one.relay, &one.scenario);
    format!(
        "{:<12} {:>7.0} events/s  {:>7.0} deliveries/s  {:>7.1} µs CPU an event, {:.2} × bare",
        scenario.key,
        relay.events_per_s,
        relay.deliveries_per_s,
        relay.cpu_us,
        relay.cpu_us / mean(&one.bare, |bare| bare.cpu_us)
    )
}

fn mean(bare: &[Figures; 2], of: impl Fn(&Figures) -> f64) -> f64 {
    (of(&bare[0]) + of(&bare[1])) / 2.0
}

/// All that is told.
pub struct Report {
    pub machine: Machine,
    pub measured: Vec<Measured>,
    pub drained: Option<Drained>,
    pub counted: Vec<Counted>,
    pub asked: Option<Api>,
    pub watched: Option<Watched>,
    pub encrypted: Option<Encrypted>,
    pub gathered: Option<Gathered>,
    pub together: Option<Together>,
    pub is_quick: bool,
}

/// A hundred events go to one destination, and [`BOUNCED_IN_100`] of them to a second.
const DELIVERIES_OF_THE_MIX: f64 = 1.0 + BOUNCED_IN_100 as f64 / 100.0;

const HEAD: &str = "| | events/s | deliveries/s | CPU µs an event | ack p50 · p99 · p999, ms | end to end p50 · p99, ms | resident at \
                    most, MiB | written a body byte | events a sync |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";

impl Report {
    /// The whole of BENCHMARKS.md.
    pub fn text(&self) -> String {
        let mut out = format!("# Benchmarks\n\nWritten by `make bench`.\n\n{}", self.machine.text());
        if self.is_quick {
            out.push_str("A tenth of the events: it shows that it runs, not what it costs.\n\n");
        }
        out.push_str(&self.budget());
        let mut group = "";
        for one in &self.measured {
            if one.scenario.group != group {
                group = one.scenario.group;
                write!(out, "\n## {group}\n\n{HEAD}").expect(TAKES_ALL);
            }
            rows(&mut out, one);
        }
        if let Some(drained) = &self.drained {
            out.push_str(&backlog(drained));
        }
        out.push_str(&allocations(&self.counted));
        if let Some(asked) = &self.asked {
            out.push_str(&answers(asked));
        }
        if let Some(watched) = &self.watched {
            out.push_str(&page(watched));
        }
        if let Some(encrypted) = &self.encrypted {
            out.push_str(&tls(encrypted));
        }
        if let Some(gathered) = &self.gathered {
            out.push_str(&digest(gathered));
        }
        if let Some(together) = &self.together {
            out.push_str(&batches(together));
        }
        out + READING
    }

    fn figures(&self, key: &str) -> Option<&Figures> {
        self.measured.iter().find(|one| one.scenario.key == key).map(|one| &one.relay)
    }

    /// The budget's lines of which all figures are there.
    fn budget(&self) -> String {
        let mut out = String::from("## The budget\n\n| | budget | measured | |\n|---|--:|--:|---|\n");
        let mut row = |what: &str, bound: String, measured: String, is_met: bool| {
            let verdict = if is_met { "met" } else { "**missed**" };
            writeln!(out, "| {what} | {bound} | {measured} | {verdict} |").expect(TAKES_ALL);
        };
        if let Some(standard) = self.figures("standard") {
            let (cpu, rate) = (standard.cpu_us, standard.events_per_s);
            row(
                "CPU an event, 1.38 deliveries, synced",
                format!("≤ {CPU_US} µs"),
                format!("{cpu:.1} µs"),
                cpu <= CPU_US,
            );
            row(
                "events a second, sender and receivers beside it",
                format!("≥ {EVENTS_PER_S}"),
                format!("{rate:.0}"),
                rate >= EVENTS_PER_S,
            );
        }
        if let (Some(few), Some(many)) = (self.figures("rules-10"), self.figures("rules-10000")) {
            let ratio = many.cpu_us / few.cpu_us;
            row(
                "CPU an event with 10 000 rules, by that with 10",
                format!("≤ {RULES} ×"),
                format!("{ratio:.2} ×"),
                ratio <= RULES,
            );
        }
        if let Some(rate) = self.figures("rate") {
            let p99 = rate.ack_ms[1];
            row("ack p99 at 1000 events/s", format!("≤ {ACK_MS} ms"), format!("{p99:.2} ms"), p99 <= ACK_MS);
        }
        if let (Some(standard), Some(drained)) = (self.figures("standard"), &self.drained) {
            let waiting = drained.resident_mib.max(drained.draining_resident_mib);
            let most = standard.resident_mib.max(waiting);
            let what = format!("resident at most, standard mix and {} waiting", drained.events);
            let measured = format!("{:.1} and {waiting:.1} MiB", standard.resident_mib);
            row(&what, format!("≤ {RESIDENT_MIB} MiB"), measured, most <= RESIDENT_MIB);
        }
        if let Some(watched) = &self.watched {
            let ([alone, page], [without, with]) = (watched.cpu_us, watched.resident_mib);
            let (more, mib) = ((page - alone) / alone * 100.0, with - without);
            let bound = format!("≤ {PAGE_CPU_PERCENT} %, ≤ {PAGE_MIB} MiB");
            let is_met = more <= PAGE_CPU_PERCENT && mib <= PAGE_MIB;
            row("an open page at 1000 events/s: CPU, memory", bound, format!("{more:.1} %, {mib:.1} MiB"), is_met);
        }
        out
    }
}

/// At 64 requests in flight, 600 B a body.
const CPU_US: f64 = 45.0;
const EVENTS_PER_S: f64 = 20_000.0;
const RULES: f64 = 2.0;
const ACK_MS: f64 = 10.0;
const RESIDENT_MIB: f64 = 60.0;
/// More than without it.
const PAGE_CPU_PERCENT: f64 = 2.0;
const PAGE_MIB: f64 = 8.0;

const TAKES_ALL: &str = "a String takes everything";

fn rows(out: &mut String, one: &Measured) {
    let mut row = |name: &str, figures: &Figures| {
        let [p50, p99, p999] = figures.ack_ms;
        let way = figures.end_to_end_ms.map_or("–".to_owned(), |[p50, p99]| format!("{p50:.2} · {p99:.2}"));
        let (written, group) =
            figures.disk.map_or(("–".to_owned(), "–".to_owned()), |(w, g)| (format!("{w:.2}"), format!("{g:.1}")));
        let mark = if figures.cpu_seconds < 2.0 { "~" } else { "" };
        writeln!(
            out,
            "| {name} | {:.0} | {:.0} | {mark}{:.1} | {p50:.2} · {p99:.2} · {p999:.2} | {way} | {:.1} | {written} | {group} |",
            figures.events_per_s, figures.deliveries_per_s, figures.cpu_us, figures.resident_mib
        )
        .expect(TAKES_ALL);
    };
    row(&format!("**{}**", one.scenario.name), &one.relay);
    row("bare, before", &one.bare[0]);
    row("bare, after", &one.bare[1]);
    let by_bare = |of: &dyn Fn(&Figures) -> f64| {
        let mean = mean(&one.bare, of);
        if mean > 0.0 { format!("{:.2}", of(&one.relay) / mean) } else { "–".to_owned() }
    };
    let way = |at: usize| by_bare(&|figures| figures.end_to_end_ms.map_or(0.0, |way| way[at]));
    writeln!(
        out,
        "| *relay / bare* | {} | {} | {} | {} · {} · {} | {} · {} | {} | | |",
        by_bare(&|figures| figures.events_per_s),
        by_bare(&|figures| figures.deliveries_per_s),
        by_bare(&|figures| figures.cpu_us),
        by_bare(&|figures| figures.ack_ms[0]),
        by_bare(&|figures| figures.ack_ms[1]),
        by_bare(&|figures| figures.ack_ms[2]),
        way(0),
        way(1),
        by_bare(&|figures| figures.resident_mib),
    )
    .expect(TAKES_ALL);
}

fn backlog(drained: &Drained) -> String {
    format!(
        "\n## A backlog of {} events for a destination that is down\n\n\
         | | a second | CPU µs each | resident at most, MiB |\n|---|--:|--:|--:|\n\
         | taken in while it is down | {:.0} | {:.1} | {:.1} |\n\
         | delivered when it is back | {:.0} | {:.1} | {:.1} |\n\n\
         Between the two the relay was killed and started again over the backlog: ready after {:.2} s.\n",
        drained.events,
        drained.taken_per_s,
        drained.taking_cpu_us,
        drained.resident_mib,
        drained.drained_per_s,
        drained.draining_cpu_us,
        drained.draining_resident_mib,
        drained.restart_seconds,
    )
}

fn allocations(counted: &[Counted]) -> String {
    let Some(intake) = counted.iter().find(|one| one.fan == Fan::Each(0)) else { return String::new() };
    let mut out = String::from(
        "\n## Allocations\n\n| an event that goes | allocations an event | bytes an event | allocations a delivery | bytes a \
         delivery |\n|---|--:|--:|--:|--:|\n",
    );
    for one in counted {
        let (name, deliveries) = match one.fan {
            Fan::Each(0) => ("nowhere".to_owned(), 0.0),
            Fan::Each(count) => (format!("to {count}"), count as f64),
            _ => ("as in the standard mix".to_owned(), DELIVERIES_OF_THE_MIX),
        };
        let part = one.delivery(intake, deliveries);
        let part =
            if deliveries > 0.0 { format!("{:.1} | {:.0}", part.times, part.bytes) } else { "– | –".to_owned() };
        writeln!(out, "| {name} | {:.1} | {:.0} | {part} |", one.event.times, one.event.bytes).expect(TAKES_ALL);
    }
    out
}

fn answers(asked: &Api) -> String {
    let mut out = format!(
        "\n## The API, where {} events are kept\n\n| | asked | p50 ms | p99 ms | bytes |\n|---|--:|--:|--:|--:|\n",
        asked.events
    );
    for one in &asked.answered {
        let [p50, p99] = one.ms;
        writeln!(out, "| `{}` | {} | {p50:.2} | {p99:.2} | {} |", one.what, one.times, one.bytes).expect(TAKES_ALL);
    }
    let views: Vec<_> = asked.first_views_ms.iter().map(|ms| format!("{ms:.0}")).collect();
    writeln!(
        out,
        "\nThe page, opened in a new browser each time, shows the list of events after {} ms.",
        views.join(", ")
    )
    .expect(TAKES_ALL);
    out
}

fn page(watched: &Watched) -> String {
    let Watched { cpu_us: [alone, page], resident_mib: [without, with], kib_per_s } = watched;
    format!(
        "\n## An open page, at 1000 events/s\n\n| | CPU µs an event | resident at most, MiB | KiB a second of the stream |\n\
         |---|--:|--:|--:|\n| nobody looks | {alone:.1} | {without:.1} | |\n| a page is open | {page:.1} | {with:.1} | \
         {kib_per_s:.0} |\n"
    )
}

fn tls(encrypted: &Encrypted) -> String {
    let mut out = String::from(
        "\n## TLS for webhooks, 64 requests in flight\n\n| connections | CPU µs an event, in the clear | with `tls:` | ratio |\n\
         |---|--:|--:|--:|\n",
    );
    let Encrypted { kept_cpu_us, new_cpu_us } = encrypted;
    for (name, [clear, tls]) in [("kept", kept_cpu_us), ("a new one for each event", new_cpu_us)] {
        writeln!(out, "| {name} | {clear:.1} | {tls:.1} | {:.2} |", tls / clear).expect(TAKES_ALL);
    }
    out
}

fn batches(together: &Together) -> String {
    let Together { cpu_us: [alone, with], requests } = together;
    let mut out = String::from(
        "\n## Batches, 64 requests in flight, 1.38 deliveries\n\n| | CPU µs an event | requests an event |\n|---|--:|--:|\n",
    );
    let names = ["a request for each delivery", "`batch: { max: 100, every: 1s }`"];
    for ((name, cpu_us), requests) in names.iter().zip(&together.cpu_us).zip(requests) {
        writeln!(out, "| {name} | {cpu_us:.1} | {requests:.3} |").expect(TAKES_ALL);
    }
    writeln!(out, "\nWith batches an event costs {:.2} of what it costs without.", with / alone).expect(TAKES_ALL);
    out
}

fn digest(gathered: &Gathered) -> String {
    let mut out = format!(
        "\n## A digest of {} events\n\n| | CPU µs an event, taken in | resident at most, MiB | killed and started again: ready after, s | \
         all in their place after, s | resident at most by then, MiB |\n|---|--:|--:|--:|--:|--:|\n",
        gathered.events
    );
    for (name, waiting) in ["each waits by itself", "all wait for one message"].iter().zip(&gathered.waiting) {
        let [cpu_us, mib] = [waiting.taking_cpu_us, waiting.resident_mib];
        let [ready, placed] = [waiting.ready_seconds, waiting.placed_seconds];
        writeln!(out, "| {name} | {cpu_us:.1} | {mib:.1} | {ready:.2} | {placed:.2} | {:.1} |", waiting.restarted_mib)
            .expect(TAKES_ALL);
    }
    let Gathered {
        messages, settled_seconds, settling_cpu_us, settling_resident_mib, ack_ms: [p50, p99, most], ..
    } = gathered;
    writeln!(
        out,
        "\nIt went out in {messages} requests and was settled {settled_seconds:.2} s after the command, for {settling_cpu_us:.1} µs of CPU an \
         event and {settling_resident_mib:.1} MiB at most. Events that came meanwhile were answered after {p50:.2} ms (p50), {p99:.2} ms \
         (p99), {most:.2} ms (at most).",
    )
    .expect(TAKES_ALL);
    out
}

const READING: &str = r#"
## How to read it

- **The bare loop** takes the same requests and forwards each to as many receivers as the relay delivers it to, one after the other, and
  answers then. It has no disk, no rules, no queue, no retries and no HTTP library. It runs before and after each scenario, under the same
  load; the ratio is to the mean of both. Where these two differ much, something else was busy, and the scenario says little.
- **Ratios repeat, absolute times do not.** Sender, receivers and relay share the machine's cores: events/s is what is left for the relay.
- **CPU** is user and system time of the one process in the middle, until the last delivery is settled, for each event. The kernel tells it
  in ticks of 10 ms; `~` marks a figure of less than two seconds of it, which a tick moves by more than half a hundredth.
- **ack** is from the first byte of a request to its answer, which the relay gives after the sync and the bare loop after the deliveries.
  At a fixed rate it counts from when the event was *due*: what had to wait behind a late answer is late as well.
- **End to end** is from the same moment to the receiver's having read the body. With 64 requests in flight a sender is as fast as it is
  answered, the relay may take events in faster than they can be delivered, and then this is the length of the queue; the line at a
  fixed rate is how long an event takes.
- **deliveries/s** is from the first request to the last arrival; for a file to when all is settled.
- **written** is what the process made the kernel write to the disk, journal, index and file together, by the bytes of all bodies.
- **Allocations** are counted in a second process, which is the same daemon with an allocator that counts. An event that goes nowhere is
  taken in, written down and answered; what another has more is its deliveries'. Growing a buffer counts as one.
- **An open page** reads the stream, and asks every 15 s how the relay stands. Two relays have the same load in turns; one of them has a page
  open all the time.
- **TLS**: two relays have the same load in turns; one of them has `tls:`, with a certificate by ECDSA on P-256. Nothing is resumed, so each new
  connection is a whole handshake. What the sender spends on it is not counted.
- **A digest**: a relay with a backlog for a destination that is down, and one whose destination gathers all of it for one message. Each is
  killed with all of it waiting and started again. *In its place* is what each delivery is once the relay knows whether it waits for a message;
  then the digest is told to go out, while a few events a second come in.
- **Batches**: two relays have the same load in turns, and each a receiver of its own; one sends up to a hundred events in a request. What is taken in, synced and
  settled is the same for both.
- **The rules** that match nothing here are half a type and a campaign's name; the rest are ids, triggers, and globs, endings and regular
  expressions. Two match, so that the deliveries are those of the standard mix.
"#;
