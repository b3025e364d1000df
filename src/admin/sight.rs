//! How much of an answer somebody sees, whatever it answers.
//!
//! What is large is looked through where it was made, within the place of its request and beside the threads that serve. Whatever has not
//! been by then is looked through before it leaves: no answer goes around it.

use super::door::Access;
use super::{addresses, blocking, reader};
use crate::listener::Answer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Everything,
    WithoutAddresses,
    /// What a `read_token` is for.
    States,
}

/// An answer that has been looked through.
#[derive(Clone, Copy, Debug)]
struct Seen;

impl Sight {
    pub(super) fn of(access: Access, shows_addresses: bool) -> Self {
        match access {
            Access::Read => Self::States,
            Access::Full if shows_addresses => Self::Everything,
            Access::Full => Self::WithoutAddresses,
        }
    }

    /// What is seen of an answer. One that has been looked through stays as it is.
    pub(super) fn of_answer(self, answer: Answer) -> Answer {
        if answer.extensions().get::<Seen>().is_some() {
            return answer;
        }
        let mut seen = match self {
            Self::Everything => answer,
            Self::WithoutAddresses => addresses::answer_without_addresses(answer),
            Self::States => reader::shown(answer),
        };
        seen.extensions_mut().insert(Seen);
        seen
    }

    /// The same of one that may be large.
    pub(super) async fn of_large_answer(self, answer: Answer) -> Answer {
        match self {
            Self::Everything => answer,
            _ => blocking(move || self.of_answer(answer)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::listener::answer;

    #[track_caller]
    fn check(sight: Sight, expected: &str) {
        let told = || answer(StatusCode::BAD_REQUEST, "no: ann@example.com");
        let seen = sight.of_answer(told());
        assert_eq!(String::from_utf8_lossy(seen.body()).trim_end(), expected, "{sight:?}");
        assert_eq!(sight.of_answer(seen.clone()).body(), seen.body(), "{sight:?}: once is enough");
        let headers = told().headers().len();
        assert_eq!((seen.status(), seen.headers().len()), (StatusCode::BAD_REQUEST, headers), "{sight:?}");
    }

    #[test]
    fn who_sees_less_sees_less_of_every_answer() {
        check(Sight::of(Access::Full, true), r#"{"error":"no: ann@example.com"}"#);
        check(Sight::of(Access::Full, false), r#"{"error":"no: …@…"}"#);
        for shows_addresses in [true, false] {
            check(Sight::of(Access::Read, shows_addresses), r#"{"error":"no: …"}"#);
        }
    }
}
