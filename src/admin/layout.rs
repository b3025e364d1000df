//! How an answer in JSON is laid out: on one line for a program that says that it reads JSON, and indented for who looks at it with curl or
//! types its address into a browser. `?pretty` asks for the one or the other.

use http::HeaderMap;
use serde::Serialize;

/// The parameter that says it, which every path takes that answers in JSON.
const PARAMETER: &str = "pretty";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Compact,
    Indented,
}

impl Layout {
    /// The one that a request asks for, whose parameter is taken out of its query; or what is wrong with that.
    pub(super) fn asked(headers: &HeaderMap, query: &mut Vec<(String, String)>) -> Result<Self, &'static str> {
        let mut layout = Self::usual(headers);
        let mut times = 0;
        let mut wrong = None;
        query.retain(|(key, value)| {
            if key != PARAMETER {
                return true;
            }
            times += 1;
            match value.as_str() {
                "" | "true" => layout = Self::Indented,
                "false" => layout = Self::Compact,
                _ => wrong = Some("`pretty` should be true or false"),
            }
            false
        });
        if times > 1 {
            wrong = Some("`pretty` is given twice");
        }
        wrong.map_or(Ok(layout), Err)
    }

    /// A browser that is given an address asks for HTML first, and JSON comes somewhere behind it; curl asks for anything.
    fn usual(headers: &HeaderMap) -> Self {
        let asks_for = |kind: &str| {
            let mut accepts = headers.get_all(http::header::ACCEPT).iter();
            accepts.any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(kind)))
        };
        if asks_for("application/json") && !asks_for("text/html") { Self::Compact } else { Self::Indented }
    }

    /// A value as a JSON text, with a line end behind it.
    pub(super) fn text(self, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        let mut text = match self {
            Self::Compact => serde_json::to_vec(value)?,
            Self::Indented => serde_json::to_vec_pretty(value)?,
        };
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accept: Option<&str>, query: &[(&str, &str)], expected: Result<Layout, &str>) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(http::header::ACCEPT, HeaderValue::from_str(accept).expect("a value"));
        }
        let mut query: Vec<_> = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(Layout::asked(&headers, &mut query), expected, "{accept:?} {query:?}");
        assert!(query.iter().all(|(key, _)| key != PARAMETER));
    }

    #[test]
    fn programs_that_read_json_get_one_line_and_people_get_many() {
        use Layout::{Compact, Indented};
        check(None, &[], Ok(Indented));
        check(Some("*/*"), &[], Ok(Indented));
        check(Some("application/json"), &[], Ok(Compact));
        check(Some("application/json, */*;q=0.1"), &[("type", "sent")], Ok(Compact));
        check(Some("text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"), &[], Ok(Indented));
        check(Some("application/json"), &[("pretty", "")], Ok(Indented));
        check(Some("application/json"), &[("pretty", "true")], Ok(Indented));
        check(None, &[("pretty", "false")], Ok(Compact));
        check(None, &[("pretty", "maybe")], Err("`pretty` should be true or false"));
        check(None, &[("pretty", ""), ("pretty", "")], Err("`pretty` is given twice"));
    }
}
