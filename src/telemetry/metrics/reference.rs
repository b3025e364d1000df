//! docs/metrics.md, made from what is declared.

use std::fmt::Write;

use super::{Kind, Metrics};

/// All metrics as a page of Markdown.
pub fn reference() -> String {
    let mut page = include_str!("reference.md").to_owned();
    let metrics = Metrics::default();
    for part in metrics.described().chunk_by(|one, next| one.about == next.about) {
        let about = part[0].about;
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {about}\n\n| Metric | Type | Labels | Unit | Meaning |\n|---|---|---|---|---|\n");
        for metric in part {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let name = metric.exposed();
            let labels = labels.join(", ");
            let unit = metric.unit;
            let help = metric.help;
            let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {unit} | {help}. |");
        }
    }
    page
}
