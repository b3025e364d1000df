//! The page: what a browser is shown. Its files are in the program; they hold no data, so anybody who may ask may have them.
//!
//! No framework and no step between what is written here and what is served: `index.html`, one style sheet, and modules that the browser
//! loads as they are. `dom.js` makes elements, and makes text nodes of whatever comes from outside; `api.js` is the way to the API; each view
//! has a module. The policy below has the browser hold the page to that: no code and no style but from these files, and no text that
//! becomes markup.

use std::io::Read;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::listener::Answer;

/// What the browser lets the page do: load its own files, ask its own relay, and no more.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
/// Besides, for the page alone.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("clipboard-write=(self)")),
];

/// One of its files.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($kind:literal: $($path:literal),+;)+) => {
        const FILES: &[File] = &[$($(File { path: $path, kind: $kind, bytes: include_bytes!($path) }),+),+];
    };
}

files! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "style.css";
    "image/svg+xml": "icon.svg";
    "text/javascript; charset=utf-8": "theme.js", "app.js", "acts.js", "dom.js", "focus.js", "api.js", "parts.js",
        "json.js", "slack.js", "strip.js", "keys.js", "signin.js", "looking.js", "asked.js", "slips.js", "row.js", "events.js",
        "event.js", "destinations.js", "try.js", "unrouted.js", "route.js", "config.js", "bins.js";
}

/// What is sent of a file, and what tells one version of it from another.
struct Form {
    bytes: Bytes,
    tag: HeaderValue,
}

/// Each file as it is and packed by gzip, in their order.
static FORMS: LazyLock<Vec<(Form, Form)>> =
    LazyLock::new(|| FILES.iter().map(|file| forms(Bytes::from_static(file.bytes))).collect());

fn forms(bytes: Bytes) -> (Form, Form) {
    let form = |bytes: Bytes| Form { tag: tag(&bytes), bytes };
    let packed = pack(&bytes);
    (form(bytes), form(packed.into()))
}

/// A file as it lies on the disk now, where a debug build is told to look: whoever works on the page waits for no compiler then.
fn from_disk(file: &File) -> Option<(Form, Form)> {
    let directory = cfg!(debug_assertions).then(|| std::env::var_os("VERO_RELAY_PAGE_DIR")).flatten()?;
    let bytes = std::fs::read(std::path::Path::new(&directory).join(file.path)).ok()?;
    Some(forms(bytes.into()))
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzEncoder::new(bytes, Compression::best()).read_to_end(&mut packed).expect("what lies in memory can be read");
    packed
}

/// Whether a browser takes gzip: it names it, and does not give it the weight zero.
fn unpacks(headers: &HeaderMap) -> bool {
    let codings =
        headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    codings.map(|coding| coding.split_once(';').unwrap_or((coding, ""))).any(|(name, weight)| {
        let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=');
        let is_gzip = ["gzip", "x-gzip"].iter().any(|gzip| name.trim().eq_ignore_ascii_case(gzip));
        is_gzip && weight.parse::<f32>().ok() != Some(0.0)
    })
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digits: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{digits}\"")).expect("digits in quotes are a header's value")
}

/// Whether there is a file at a path; the page itself is at none.
pub(super) fn has(path: &str) -> bool {
    place(path).is_some()
}

fn place(path: &str) -> Option<usize> {
    let path = if path.is_empty() { "index.html" } else { path };
    FILES.iter().position(|file| file.path == path)
}

/// The file at a path.
pub(super) fn find(path: &str, headers: &HeaderMap) -> Option<Answer> {
    let at = place(path)?;
    let from_disk = from_disk(&FILES[at]);
    let (plain, packed) = from_disk.as_ref().unwrap_or(&FORMS[at]);
    let is_packed = unpacks(headers);
    let Form { bytes, tag } = if is_packed { packed } else { plain };
    let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|known| is_among(known.as_bytes(), tag.as_bytes()));
    let mut response = Response::new(if is_known { Bytes::new() } else { bytes.clone() });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let own = response.headers_mut();
    own.extend(HEADERS);
    own.insert(CONTENT_TYPE, HeaderValue::from_static(FILES[at].kind));
    own.insert(CONTENT_SECURITY_POLICY, POLICY);
    // Asked about each time, so that a new version of the program is seen at once.
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    own.insert(ETAG, tag.clone());
    own.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_packed && !is_known {
        own.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

/// Whether a list of tags has one. A proxy that packs what it passes on makes a weak tag of it.
fn is_among(list: &[u8], tag: &[u8]) -> bool {
    let items = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    items.map(|item| item.strip_prefix(b"W/").unwrap_or(item)).any(|item| item == tag || item == b"*")
}

/// Leads a browser to the view that shows what lies at a path: behind the `#`, below whatever path the page is served at.
pub(super) fn at_view(path: &str, steps: &[&str]) -> Answer {
    // The page lies above all steps but the last, which the browser takes off by itself.
    let up = match path.split('/').count() - 1 {
        0 => "./".to_owned(),
        steps => "../".repeat(steps),
    };
    let view = format!("bins/{}", steps[1..].join("/"));
    let location = format!("{up}#/{}", view.trim_end_matches('/'));
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(location).expect("a bin's name is letters, digits and a few signs");
    response.headers_mut().insert(http::header::LOCATION, location);
    response
}

/// Whether a browser asks, and not a program: it says that it would like HTML.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let wants = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("text/html"));
    headers.get_all(http::header::ACCEPT).iter().any(wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = find("app.js", &HeaderMap::new()).expect("it is there");
        assert_eq!((first.status().as_u16(), first.body().is_empty()), (200, false));
        let tag = first.headers()[ETAG].to_str().expect("text").to_owned();
        for (known, status) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"other\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            let again = find("app.js", &headers(IF_NONE_MATCH, &known)).expect("it is there");
            assert_eq!((again.status().as_u16(), again.body().is_empty()), (status, status == 304), "{known}");
        }
        assert!(find("nothing.js", &HeaderMap::new()).is_none());
        assert!(find("../mod.rs", &HeaderMap::new()).is_none());
    }

    /// What a browser asks for until it shows the list of events: the page, that view, and what these need. What stands behind `import(` is
    /// loaded when it is first needed.
    fn first_view() -> Vec<&'static File> {
        let mut loaded: Vec<&File> =
            FILES.iter().filter(|file| ["index.html", "events.js"].contains(&file.path)).collect();
        let mut at = 0;
        while at < loaded.len() {
            let text = std::str::from_utf8(loaded[at].bytes).expect("text");
            // What the page asks for before anything needs it does not count as needed by that.
            let is_named = |path: &str| {
                let needs = |line: &str| line.contains(&format!("=\"{path}\"")) && !line.contains("modulepreload");
                text.lines().any(needs) || text.contains(&format!("from \"./{path}\""))
            };
            let named = FILES.iter().filter(|file| is_named(file.path));
            let named: Vec<_> = named.filter(|file| loaded.iter().all(|known| known.path != file.path)).collect();
            loaded.extend(named);
            at += 1;
        }
        loaded
    }

    #[test]
    fn the_page_is_light_and_loads_in_few_requests() {
        let first = first_view();
        let paths: Vec<_> = first.iter().map(|file| file.path).collect();
        for needed in ["index.html", "style.css", "theme.js", "app.js", "dom.js", "api.js", "parts.js", "events.js"] {
            assert!(paths.contains(&needed), "{needed} is not among {paths:?}");
        }
        let bytes: usize = first.iter().map(|file| file.bytes.len()).sum();
        let packed: usize = first.iter().map(|file| pack(file.bytes).len()).sum();
        assert!(bytes <= 130_000 && packed <= 40_000, "{bytes} bytes, {packed} packed: {paths:?}");
        assert!(first.len() <= 16, "{} files: {paths:?}", first.len());
    }

    #[test]
    fn a_browser_learns_from_the_page_itself_what_the_first_view_needs() {
        let page = std::str::from_utf8(FILES[place("").expect("it is there")].bytes).expect("text");
        let first = first_view();
        for File { path, .. } in first.iter().filter(|file| file.path != "index.html") {
            assert!(page.contains(&format!("=\"{path}\"")), "{path} is found only when another file has come");
        }
        for File { path, .. } in FILES.iter().filter(|file| first.iter().all(|needed| needed.path != file.path)) {
            assert!(
                !page.contains(&format!("=\"{path}\"")),
                "{path} is asked for, and the first view does not need it"
            );
        }
    }

    #[test]
    fn a_browser_that_unpacks_gets_the_packed_file_and_each_form_has_its_own_tag() {
        let plain = find("app.js", &HeaderMap::new()).expect("it is there");
        assert_eq!(
            (plain.headers().get(CONTENT_ENCODING), &plain.headers()[VARY]),
            (None, &HeaderValue::from_static("accept-encoding"))
        );
        for accepted in ["gzip", "deflate, gzip, br", "gzip;q=0.5", "GZIP", "x-gzip"] {
            let packed = find("app.js", &headers(ACCEPT_ENCODING, accepted)).expect("it is there");
            assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip", "{accepted}");
            assert_ne!(packed.headers()[ETAG], plain.headers()[ETAG]);
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed.body()[..]).read_to_end(&mut unpacked).expect("it is gzip");
            assert_eq!(unpacked, plain.body()[..], "{accepted}");
        }
        for refused in ["br", "gzip;q=0", "gzip; q=0.0", "identity", "", "gzipped"] {
            let answer = find("app.js", &headers(ACCEPT_ENCODING, refused)).expect("it is there");
            assert_eq!(answer.headers().get(CONTENT_ENCODING), None, "{refused}");
        }
    }

    #[test]
    fn nothing_in_the_page_is_inline_and_nothing_comes_from_elsewhere() {
        for file in FILES {
            let text = std::str::from_utf8(file.bytes).expect("text");
            for wrong in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "javascript:",
                " style=\"",
                " onclick=",
            ] {
                assert!(!text.contains(wrong), "{} has {wrong}", file.path);
            }
            let mut outside =
                text.match_indices("://").map(|(at, _)| &text[at.saturating_sub(5)..(at + 30).min(text.len())]);
            assert_eq!(outside.find(|place| !place.contains("www.w3.org/2000/svg")), None, "{}", file.path);
        }
    }

    #[test]
    fn a_browser_gets_the_page_where_a_program_gets_the_list() {
        assert!(is_wanted(&headers(http::header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(!is_wanted(&headers(http::header::ACCEPT, "*/*")));
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
