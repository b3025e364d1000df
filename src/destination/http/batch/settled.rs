//! What the answer to a request with several events means for each of them. Pure.

use crate::destination::Outcome;

/// What became of each of so many events, by what the answer says of the request. Where several were refused for good, any one of them may be
/// meant, or they were too much at once: they are tried again by halves, and at the last each alone. For one bad event of a hundred that is fourteen
/// requests, where each alone at once would be a hundred, and partners count requests.
pub fn of_each(outcome: Outcome, count: usize) -> Outcome {
    match outcome {
        Outcome::Reject { reason } | Outcome::Skipped { reason } if count > 1 => {
            let at_most = count.div_ceil(2);
            Outcome::Apart { reason: reason.of_several(count, at_most), at_most, was_sent: true }
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Answers;

    #[track_caller]
    fn check(status: u16, count: usize, expected: &str) {
        let outcome = Answers::default().outcome(status, || ("it says why".to_owned(), None));
        let outcome = of_each(outcome, count);
        let reason = outcome.reason().map(|reason| format!(": {}", reason.text)).unwrap_or_default();
        let at_most =
            if let Outcome::Apart { at_most, .. } = outcome { format!(" by {at_most}") } else { String::new() };
        assert_eq!(format!("{}{at_most}{reason}", outcome.name()), expected);
    }

    #[test]
    fn several_that_are_refused_are_tried_again_by_halves_and_one_is_refused() {
        check(200, 3, "delivered");
        let two = "for 3 events together, and they are tried again, 2 at once: it says why";
        check(400, 3, &format!("reject by 2: 400 Bad Request {two}"));
        check(400, 2, "reject by 1: 400 Bad Request for 2 events together, and each is tried alone: it says why");
        check(400, 1, "reject: 400 Bad Request: it says why");
        check(413, 1, "reject: 413 Payload Too Large: it says why");
        check(413, 2, "reject by 1: 413 Payload Too Large for 2 events together, and each is tried alone: it says why");
        let halves = "for 101 events together, and they are tried again, 51 at once: it says why";
        check(413, 101, &format!("reject by 51: 413 Payload Too Large {halves}"));
        check(503, 3, "retry: 503 Service Unavailable: it says why");
        check(410, 3, "pause: 410 Gone: it says why");
    }

    #[test]
    fn several_that_are_skipped_are_tried_by_halves_too() {
        let skipped = || Outcome::skipped("there is nobody by that address");
        assert!(matches!(of_each(skipped(), 2), Outcome::Apart { at_most: 1, .. }));
        assert_eq!(of_each(skipped(), 1), skipped());
    }

    #[test]
    fn what_the_other_side_said_stays_apart_from_what_we_say() {
        let outcome = Answers::default().outcome(422, || ("bob@example.com".to_owned(), None));
        let outcome = of_each(outcome, 2);
        let reason = outcome.reason().expect("a reason");
        assert!(!reason.brief.contains("bob") && reason.answer == "bob@example.com" && reason.status == Some(422));
        assert_eq!(reason.why().answer, "bob@example.com");
    }
}
