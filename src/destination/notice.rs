//! What an operator is told of by way of a destination, which is no event: by its own transport, and not in its own words.
//!
//! A destination that can be told of is a [`Teller`]. One that is made of an event, or that nobody reads, is none.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::Outcome;

/// Something that an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same for the same message, on every attempt and after a restart: who gets it twice can tell. Letters, digits and `-`.
    pub id: String,
    /// When it was put together, unix milliseconds.
    pub at_ms: u64,
    /// All of it in a line.
    pub title: String,
    /// What is wrong, or over: the worst first.
    pub problems: Vec<Told>,
    /// The operator's page, where it has an address.
    pub page: Option<String>,
}

/// One thing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// A word for programs: `destination_failing`.
    pub kind: &'static str,
    /// The destination, the source or the listener that it is about; empty where there is but one.
    pub about: String,
    /// Since when it is so, or was, unix milliseconds.
    pub since_ms: u64,
    pub is_over: bool,
    pub text: String,
    /// What is known besides, a line each.
    pub details: Vec<String>,
    /// Where the page shows it.
    pub page: Option<String>,
}

/// A destination by which somebody can be told.
pub trait Teller: Send + Sync {
    /// How many problems of a notice, from the first on, find room in one message.
    fn holds(&self, notice: &Notice) -> usize {
        notice.problems.len()
    }

    /// Makes one attempt, and says what it came to. The future may be dropped at its timeout.
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Outcome>;
}

impl Notice {
    /// As a letter has it.
    pub(super) fn plain(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&problem.text);
            text.push('\n');
            for detail in &problem.details {
                text.push_str(&format!("  {detail}\n"));
            }
            if let Some(page) = &problem.page {
                text.push_str(&format!("  {page}\n"));
            }
            text.push('\n');
        }
        if let (Some(page), true) = (&self.page, self.problems.iter().all(|problem| problem.page.is_none())) {
            text.push_str(&format!("{page}\n\n"));
        }
        text.push_str("-- \nvero-relay, as `notify` in its config asks for it\n");
        text
    }

    /// As templates have it: as a program, and with all that is wrong as one text, a line each.
    pub(super) fn for_templates(&self) -> Value {
        let mut json = self.json();
        let lines = self.problems.iter().flat_map(|told| [&told.text].into_iter().chain(&told.details));
        json["notice"]["text"] = lines.map(String::as_str).collect::<Vec<_>>().join("\n").into();
        json
    }

    /// As a program has it.
    pub(super) fn json(&self) -> Value {
        let problem = |told: &Told| {
            json!({
                "kind": told.kind,
                "about": told.about,
                "since": crate::time::rfc3339(told.since_ms),
                "is_over": told.is_over,
                "text": told.text,
                "details": told.details,
                "page": told.page,
            })
        };
        json!({ "notice": {
            "id": self.id,
            "at": crate::time::rfc3339(self.at_ms),
            "title": self.title,
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "page": self.page,
        }})
    }
}

/// One of each sort: templates are tried on it.
pub(super) fn sample() -> Notice {
    let told = |kind, text: &str, is_over| Told {
        kind,
        about: "crm".to_owned(),
        since_ms: 1_700_000_000_000,
        is_over,
        text: text.to_owned(),
        details: Vec::new(),
        page: (!is_over).then(|| "https://relay.example.com/#/destinations/crm".to_owned()),
    };
    let failing = told("destination_failing", "crm fails: <!channel> 503 & more", false);
    Notice {
        id: "0f3a2c1e-7c1e-8abc-8000-00000000002a".to_owned(),
        at_ms: 1_700_000_600_000,
        title: "crm fails\nand one problem is over".to_owned(),
        problems: vec![
            super::notice::Told { details: vec!["404 <none> (3)".to_owned()], ..failing },
            told("backlog_age", "the deliveries to crm do not wait that long any more", true),
        ],
        page: Some("https://relay.example.com/".to_owned()),
    }
}
