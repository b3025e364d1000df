//! `store check` of a database: each question with its answer, and what is wrong by name.

use std::time::Duration;

use serde_json::json as value;

use crate::cli::output::{json, say};
use crate::cli::terminal::{grouped, numbered, plain};
use crate::cli::{FAILED, Failure, block_on};
use crate::store::postgres::{Address, Answered, Checked, check};

pub(super) fn ask(address: &Address, within: Duration, as_json: bool) -> Result<(), Failure> {
    let checked = block_on(async { check(address, within).await.map_err(|error| Failure::of(FAILED, &error)) })?;
    let wrong = checked.wrong();
    if as_json {
        json(&to_json(&checked));
    } else {
        show(&checked);
    }
    match (wrong, checked.is_whole) {
        (0, true) => {
            if !as_json {
                say!("everything holds together");
            }
            Ok(())
        }
        (0, false) => {
            Err(Failure::new(FAILED, "the time was over before everything was looked at: give it more with --within"))
        }
        (wrong, _) => Err(Failure::new(FAILED, numbered(wrong, "problem"))),
    }
}

fn show(Checked { answers, .. }: &Checked) {
    let widest = answers.iter().map(|answered| answered.question.len()).max().unwrap_or(0);
    for Answered { question, answer, .. } in answers {
        let gap = " ".repeat(widest - question.len() + 2);
        say!("{question}{gap}{}", plain(answer));
    }
    for answered in answers {
        answered.named.iter().for_each(|wrong| say!("problem: {}", plain(&wrong.to_string())));
        let more = answered.wrong - answered.named.len() as u64;
        if more > 0 {
            say!("problem: {} more like the last", grouped(more));
        }
    }
}

fn to_json(Checked { answers, is_whole }: &Checked) -> serde_json::Value {
    let answers: Vec<_> = answers
        .iter()
        .map(|Answered { question, answer, wrong, named }| {
            let named: Vec<_> = named
                .iter()
                .map(|named| value!({ "event": named.event, "destination": named.destination, "why": named.why }))
                .collect();
            value!({ "question": question, "answer": answer, "problems": wrong, "named": named })
        })
        .collect();
    value!({ "questions": answers, "is_whole": is_whole })
}
